"""COCO's annotation files (cocodataset.org/#format-data), captions and boxes joined by image."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlm.boxes import BoxFormatError, checked_box
from vlm.data.bad_data import bad_data
from vlm.data.examples import Record
from vlm.data.sources.box_formats import to_relative
from vlm.data.sources.files import data_dir, find_files, path_inside, read_inside, shown
from vlm.data.sources.mapping import FieldOf, Mapper
from vlm.data.sources.sharded import BadRow, Row, ShardedSource, Transform
from vlm.errors import UserError, unknown_name

BOXES = 'xywh pixels'
# Polygons are nine tenths of an instances file and no task reads them.
DROPPED = ('segmentation', 'segments_info')
# Of an LVIS image: classes that it does not hold, and classes of which not every object is marked.
FEDERATED = ('neg_category_ids', 'not_exhaustive_category_ids')


class Coco(ShardedSource):
    """One record an image, with all that any of the files says about it.

    `captions` in the order of the files; `objects` [{label, box}] where a file has categories (an
    empty list for an image without any), with a `marking` (see `vlm.boxes.PartlyMarked`) where a
    file says which classes were looked for, as LVIS's does; `width`, `height`, `file_name`. The id
    is the image's. A box is relative to the width and height of the json. Regions marked `iscrowd`
    are left out: such a box holds no single object. An annotation that cannot be used (a NaN,
    inverted or outside box, an unknown category or image, a caption that is no text) is left out,
    counted and named; the image and its other annotations stay.

    Args:
      annotations: split -> one or more annotation files, below `data_dir`.
      images: split -> the folder of the pictures, below `data_dir`.
      fields: e.g. `{'caption': 'captions'}`, see `mapping.Mapper`.
      weight, transform: see `ShardedSource`.
    """

    indexed = True

    def __init__(
        self,
        annotations: Mapping[str, str | Sequence[str]],
        images: Mapping[str, str],
        fields: Mapping[str, FieldOf] | None = None,
        weight: str | None = None,
        transform: Transform | None = None,
    ):
        super().__init__(annotations, weight, transform)
        for split in annotations:
            if split not in images:
                raise unknown_name('split', split, images, 'Coco.images')
        self._annotations = dict(annotations)
        self._images = dict(images)
        self._mapper = Mapper(fields or {})
        self._joined: dict[str, dict[str, Any]] = {}

    def list_shards(self, split: str) -> list[str]:
        # The files of a split are joined, so they are one shard; it is shared out by examples.
        find_files([*_listed(self._annotations[split]), self._images[split]])
        return [split]

    def rows(self, file: str) -> Iterator[Row]:
        # Parsed once: the file of a large data set takes a good part of a minute.
        if file not in self._joined:
            self._joined[file] = join(find_files(self._annotations[file]))
        return iter(self._joined[file].items())

    def record(self, file: str, row: Row) -> Record:
        where, fields = row
        if not isinstance(fields.get('file_name'), str):
            raise BadRow('the image has no file_name')
        folder = str(data_dir() / self._images[file])

        def read_image(entry: Any) -> tuple[bytes, str | None]:
            return read_inside(folder, entry), path_inside(folder, entry)

        return self._mapper.record({**fields, 'image': fields['file_name']}, where, read_image)


def join(files: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Image id -> the image's fields with its `captions` and `objects`, in the files' order."""
    images: dict[str, dict[str, Any]] = {}
    for file in files:
        content = _load(file)
        boxed = 'categories' in content
        for image in content['images']:
            if not isinstance(image, dict) or 'id' not in image:
                bad_data.add('unreadable_rows', f'{shown(file)} images', f'no id: {image!r:.100}')
                continue
            known = images.setdefault(str(image['id']), {**image, 'id': str(image['id'])})
            if boxed:
                known.setdefault('objects', [])
        categories = _categories(content, shown(file))
        _add_annotations(content, categories, images, shown(file))
        _add_markings(content, categories, images, shown(file))
    return images


def _load(file: str) -> dict[str, Any]:
    def slim(entry: dict[str, Any]) -> dict[str, Any]:
        for name in DROPPED:
            entry.pop(name, None)
        return entry

    try:
        content = json.loads(Path(file).read_bytes(), object_hook=slim)
    except (ValueError, RecursionError) as error:
        raise UserError(f'{file} is not a JSON file: {error}') from None
    missing = {'images', 'annotations'} - set(content if isinstance(content, dict) else ())
    if missing:
        raise UserError(f'{file} is no COCO file: it has no {" and no ".join(sorted(missing))}.')
    return content


def _categories(content: Mapping[str, Any], file: str) -> dict[Any, dict[str, Any]]:
    """By id; what has no name is named as bad, and so is every object of it."""
    found = {}
    for position, category in enumerate(content.get('categories') or ()):
        try:
            if not isinstance(category['name'], str):
                raise ValueError(f'the name is {category["name"]!r}')
            found[category['id']] = category
        except (LookupError, TypeError, ValueError) as error:
            reason = f'{type(error).__name__}: {error}'
            bad_data.add('unusable_annotations', f'{file} category {position}', reason)
    return found


def _add_annotations(
    content: Mapping[str, Any],
    categories: Mapping[Any, Mapping[str, Any]],
    images: Mapping[str, dict[str, Any]],
    file: str,
) -> None:
    for position, annotation in enumerate(content['annotations']):
        try:
            image = images[str(annotation['image_id'])]
            if 'caption' in annotation:
                image.setdefault('captions', []).append(_caption(annotation))
            elif not annotation.get('iscrowd'):
                image.setdefault('objects', []).append(_object(annotation, categories, image))
        except (LookupError, TypeError, AttributeError, ValueError, BoxFormatError) as error:
            number = annotation.get('id', position) if isinstance(annotation, dict) else position
            reason = f'{type(error).__name__}: {error}'
            bad_data.add('unusable_annotations', f'{file} annotation {number}', reason)


def _add_markings(
    content: Mapping[str, Any],
    categories: Mapping[Any, Mapping[str, Any]],
    images: Mapping[str, dict[str, Any]],
    file: str,
) -> None:
    """What LVIS's federated annotation says of the images of a file, by label in place of id."""
    frequencies = {c['name']: c.get('frequency') for c in categories.values()}
    for image in content['images']:
        if not isinstance(image, dict) or 'neg_category_ids' not in image or 'id' not in image:
            continue
        known = images[str(image['id'])]
        for key in FEDERATED:
            known.pop(key, None)
        try:
            absent, incomplete = (
                [categories[i]['name'] for i in image.get(key, []) if i in categories]
                for key in FEDERATED
            )
        except TypeError as error:
            bad_data.add('unusable_annotations', f'{file} image {image["id"]}', str(error))
            continue
        labels = {*absent, *incomplete, *(entry['label'] for entry in known.get('objects', ()))}
        known['marking'] = {
            'absent': absent,
            'incomplete': incomplete,
            'frequencies': {k: v for k, v in frequencies.items() if k in labels},
        }


def _caption(annotation: Mapping[str, Any]) -> str:
    if not isinstance(annotation['caption'], str):
        raise ValueError(f'the caption is {annotation["caption"]!r}')
    return annotation['caption']


def _object(
    annotation: Mapping[str, Any],
    categories: Mapping[Any, Mapping[str, Any]],
    image: Mapping[str, Any],
) -> dict[str, Any]:
    box = to_relative(annotation['bbox'], BOXES, (image['height'], image['width']))
    return {'label': categories[annotation['category_id']]['name'], 'box': checked_box(box)}


def _listed(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
