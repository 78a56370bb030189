"""A benchmark as its authors publish it: annotation files, a folder of pictures, no conversion."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlm.data.examples import HIDDEN, Record
from vlm.data.layouts.tiff import is_tiff, tiff_to_png
from vlm.data.sources.box_formats import RELATIVE
from vlm.data.sources.files import data_dir, path_inside, read_inside
from vlm.data.sources.mapping import FieldOf, Mapper
from vlm.data.sources.sharded import BadRow, Row, ShardedSource, Transform
from vlm.errors import UserError

# Fields of an annotation file by name, `id` (text or number) among them.
Rows = Iterable[dict[str, Any]]
# `parse(*paths)` reads the annotation files of a split.
Parse = Callable[..., Rows]


class Published(ShardedSource):
    """Rows that `parse` makes of a benchmark's annotation files.

    Nothing is read before the data are; then all annotations of a split are parsed once and kept.

    Args:
      parse: `parse(*paths)` yields the rows of the files (or folders) of a split; split -> one,
        where splits differ in layout.
      files: split -> their names, below `data_dir`.
      images: where the picture of a row is, below `data_dir`: 'coco/{filepath}/{filename}', or a
        list for several; one for all splits or split -> one. The rows' part, from the first folder
        with a brace on, must not leave what is before it.
      fetch: what to fetch from where, for whoever lacks the files.
      keep: split -> the values of the rows' field `split` that belong to it, where one file holds
        several splits.
      fields, object_fields, box_format: see `mapping.Mapper`.
      weight, transform: see `ShardedSource`.
    """

    indexed = True

    def __init__(
        self,
        parse: Parse | Mapping[str, Parse],
        files: Mapping[str, str | Sequence[str]],
        images: str | Sequence[str] | Mapping[str, str | Sequence[str]],
        fetch: str,
        keep: Mapping[str, Sequence[Any]] | None = None,
        fields: Mapping[str, FieldOf] | None = None,
        object_fields: Mapping[str, FieldOf] | None = None,
        box_format: str = RELATIVE,
        weight: str | None = None,
        transform: Transform | None = None,
    ):
        super().__init__(files, weight, transform)
        self.files = {split: _listed(names) for split, names in files.items()}
        self.images = images
        self.fetch = fetch
        self._parse = parse
        self._keep = dict(keep or {})
        self._mapper = Mapper(fields or {}, object_fields or {}, box_format)
        self._parsed: dict[str, list[dict[str, Any]]] = {}

    def list_shards(self, split: str) -> list[str]:
        """The annotation files of a split are one shard; it is shared out by examples."""
        for name in [*self.files[split], *map(_fixed_folder, self._templates(split))]:
            if not (data_dir() / name).exists():
                raise UserError(
                    f'{name!r} is not in {data_dir().absolute()} (VLM_DATA_DIR, or the current '
                    f'folder).\nFetch {self.fetch}'
                )
        return [split]

    def rows(self, file: str) -> Iterator[Row]:
        if file not in self._parsed:
            paths = [data_dir() / name for name in self.files[file]]
            kept = self._keep.get(file)
            parse = self._parse[file] if isinstance(self._parse, Mapping) else self._parse
            rows = parse(*paths)
            self._parsed[file] = [r for r in rows if kept is None or r.get('split') in kept]
        return ((str(row.get('id', number)), row) for number, row in enumerate(self._parsed[file]))

    def record(self, file: str, row: Row) -> Record:
        where, fields = row
        entries = self._image_entries(file, fields)
        given = {k: v for k, v in fields.items() if k != 'split'}
        return self._mapper.record({**given, 'images': entries}, where, _read_image)

    def _templates(self, split: str) -> list[str]:
        images = self.images[split] if isinstance(self.images, Mapping) else self.images
        return _listed(images)

    def _image_entries(self, split: str, fields: Mapping[str, Any]) -> list[Any]:
        """(folder, name in it) of each picture of a row."""
        try:
            return [_place(template, fields) for template in self._templates(split)]
        except (LookupError, ValueError) as error:
            raise BadRow(f'its picture has no name: {error!r}') from None


def _read_image(entry: tuple[str, str]) -> tuple[bytes, str | None]:
    folder, name = str(data_dir() / entry[0]), entry[1]
    data = read_inside(folder, name)
    return (tiff_to_png(data), None) if is_tiff(data) else (data, path_inside(folder, name))


def _place(template: str, fields: Mapping[str, Any]) -> tuple[str, str]:
    folder = _fixed_folder(template)
    return folder, template.removeprefix(folder).lstrip('/').format_map(fields)


def _fixed_folder(template: str) -> str:
    """'coco/{filepath}/{filename}' -> 'coco'."""
    return template.partition('{')[0].rpartition('/')[0]


def _listed(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def read_json(path: Path) -> Any:
    """The content of a JSON file; UserError where it is none."""
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f'{path} is not a JSON file: {error}') from None


def read_json_lines(path: Path) -> Iterator[Any]:
    """One JSON value a line; UserError, with the line's number, where a line is none."""
    with path.open('rb') as file:
        for number, line in enumerate(file, start=1):
            try:
                if line.strip():
                    yield json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f'{path}:{number} is not JSON: {error}') from None


def known_answers(answers: Sequence[str] | None) -> list[str]:
    """The answers; those of a test split, which are not published, are `HIDDEN`."""
    return list(answers) if answers else [HIDDEN]
