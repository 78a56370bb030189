"""Boxes as they are published: referring expressions, described regions, classes, lines of text."""

import itertools
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlm.data.layouts.published import read_json
from vlm.data.sources.coco import join
from vlm.errors import UserError

Row = dict[str, Any]


class _PlainUnpickler(pickle.Unpickler):
    """Reads lists, dicts, texts and numbers; a pickle may otherwise run any code."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f'it asks for {module}.{name}')


def _read_plain_pickle(path: Path) -> Any:
    try:
        with path.open('rb') as file:
            return _PlainUnpickler(file).load()
    except (pickle.UnpicklingError, EOFError, ValueError, LookupError) as error:
        raise UserError(f'{path} is not a plain pickle of references: {error}') from None


def references(*paths: Path) -> Iterator[Row]:
    """RefCOCO, RefCOCO+ and RefCOCOg: `refs(*).p` and, last, `instances.json` with the boxes.

    A row a referred object, with all its `expressions`.
    """
    *refs, instances = paths
    content = read_json(instances)
    images = {image['id']: image for image in content['images']}
    boxes = {a['id']: a['bbox'] for a in content['annotations']}
    for ref in itertools.chain.from_iterable(map(_read_plain_pickle, refs)):
        image = images[ref['image_id']]
        expressions = [sentence['sent'] for sentence in ref['sentences']]
        yield {
            'id': f'{ref["ref_id"]}',
            'split': ref['split'],
            'image_id': ref['image_id'],
            'file_name': image['file_name'],
            'width': image['width'],
            'height': image['height'],
            'objects': [{'box': boxes[ref['ann_id']], 'expressions': expressions}],
        }


def combined_references(*paths: Path) -> Iterator[Row]:
    """All sets of references; of the train split only images that no other split has.

    Three images in five of RefCOCO's val split are in a train split of the three sets, so that
    training on all of them plainly would be training on what is evaluated (LocCa, 2403.19596).
    """
    rows = list(references(*paths))
    evaluated = {row['image_id'] for row in rows if row['split'] != 'train'}
    for number, row in enumerate(rows):
        if row['split'] != 'train' or row['image_id'] not in evaluated:
            yield {**row, 'id': f'{number}/{row["id"]}'}  # the sets number their rows alike


def visual_genome(regions: Path, image_data: Path) -> Iterator[Row]:
    """Visual Genome's region descriptions; `place` is the picture's folder and name."""
    known = {image['image_id']: image for image in read_json(image_data)}
    for row in read_json(regions):
        image = known[row['id']]
        objects = [
            {
                'box': [region['x'], region['y'], region['width'], region['height']],
                'label': region['phrase'],
                'expressions': [region['phrase']],
            }
            for region in row['regions']
        ]
        yield {
            'id': row['id'],
            'place': _last_two(image['url']),
            'width': image['width'],
            'height': image['height'],
            'objects': objects,
        }


def detection(path: Path) -> Iterator[Row]:
    """COCO's, LVIS's and Objects365's instances; boxes relative, `place` as above."""
    for row in join([str(path)]).values():
        yield {**row, 'place': _last_two(row.get('coco_url') or row['file_name'])}


def _last_two(place: str) -> str:
    """The folder and the name of a file: 'train2017/1.jpg' of 'http://.../train2017/1.jpg'."""
    return '/'.join(place.split('/')[-2:])


def receipts(folder: Path) -> Iterator[Row]:
    """SROIE's files, a receipt each: lines 'x1,y1,x2,y2,x3,y3,x4,y4,text', four corners in pixels.

    `objects` are the lines, `text` all of them in their order.
    """
    for path in sorted(folder.glob('*.txt')):
        lines = [line.split(',', 8) for line in _read_text(path).splitlines() if line.strip()]
        objects = [{'box': _hull([int(x) for x in line[:8]]), 'label': line[8]} for line in lines]
        text = ' '.join(entry['label'] for entry in objects)
        yield {'id': path.stem, 'name': path.stem, 'objects': objects, 'text': text}


def _hull(corners: list[int]) -> list[int]:
    xs, ys = corners[::2], corners[1::2]
    return [min(xs), min(ys), max(xs), max(ys)]


def _read_text(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode('utf-8-sig')
    except UnicodeDecodeError:  # some receipts have a single byte for a currency sign
        return data.decode('latin-1')


def word_crops(path: Path) -> Iterator[Row]:
    """IIIT5K's `traindata.mat` or `testdata.mat`: names of pictures and their words."""
    from scipy.io import loadmat  # jax brings SciPy

    for row in loadmat(path, simplify_cells=True)[path.stem]:
        yield {'id': row['ImgName'], 'name': row['ImgName'], 'text': row['GroundTruth']}
