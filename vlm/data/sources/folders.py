"""A folder per class: the name of the folder is the label of the pictures in it."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vlm.data.examples import Record
from vlm.data.sources.files import path_inside, read_inside
from vlm.data.sources.mapping import FieldOf
from vlm.data.sources.row_source import Files, RowSource
from vlm.data.sources.sharded import BadRow, Row, Transform
from vlm.errors import UserError

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.gif', '.bmp', '.webp')


class FolderPerClass(RowSource):
    """Pictures in folders: `train/cat/001.jpg` is a `label` of 'cat', its id is 'cat/001.jpg'.

    Folders in a class's folder belong to the class. Hidden files and folders are passed over; a
    file without the ending of a picture is bad data.

    Args:
      files: split -> the folder of folders, below `data_dir`.
      fields: e.g. `{'caption': 'a photo of a {label}'}`, see `mapping.Mapper`.
      weight, transform: see `ShardedSource`.
    """

    indexed = True

    def __init__(
        self,
        files: Files,
        fields: Mapping[str, FieldOf] | None = None,
        weight: str | None = None,
        transform: Transform | None = None,
    ):
        super().__init__(files, fields, weight=weight, transform=transform)

    def list_shards(self, split: str) -> list[str]:
        folders = super().list_shards(split)
        for folder in folders:
            if not any(entry.is_dir() for entry in Path(folder).glob('*')):
                raise UserError(f'{folder} is to hold a folder per class, but holds no folder.')
        return folders

    def rows(self, file: str) -> Iterator[Row]:
        for label in sorted(entry.name for entry in os.scandir(file) if entry.is_dir()):
            if label.startswith('.'):
                continue
            for folder, inner, names in os.walk(os.path.join(file, label)):
                inner[:] = sorted(name for name in inner if not name.startswith('.'))
                for name in sorted(names):
                    if not name.startswith('.'):
                        path = os.path.relpath(os.path.join(folder, name), file)
                        yield path, {'id': path, 'image': path, 'label': label}

    def record(self, file: str, row: Row) -> Record:
        path, fields = row
        if not path.lower().endswith(EXTENSIONS):
            raise BadRow(f'its ending is none of {" ".join(EXTENSIONS)}')

        def read_image(entry: Any) -> tuple[bytes, str | None]:
            return read_inside(file, entry), path_inside(file, entry)

        return self._mapper.record(fields, path, read_image)
