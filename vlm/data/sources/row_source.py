"""What sources of rows with named fields have in common."""

from collections.abc import Mapping, Sequence

from vlm.data.sources.box_formats import RELATIVE
from vlm.data.sources.files import find_files
from vlm.data.sources.mapping import FieldOf, Mapper
from vlm.data.sources.sharded import ShardedSource, Transform

Files = Mapping[str, str | Sequence[str]]


class RowSource(ShardedSource):
    """Rows in the files of each split.

    Args:
      files: split -> a file, a pattern ('shards/train-*.tar') or a list of them, below `data_dir`.
      fields, object_fields, box_format: what the rows call things, see `mapping.Mapper`.
      weight, transform: see `ShardedSource`.
    """

    def __init__(
        self,
        files: Files,
        fields: Mapping[str, FieldOf] | None = None,
        object_fields: Mapping[str, FieldOf] | None = None,
        box_format: str = RELATIVE,
        weight: str | None = None,
        transform: Transform | None = None,
    ):
        super().__init__(files, weight, transform)
        self._files = dict(files)
        self._mapper = Mapper(fields or {}, object_fields or {}, box_format)

    def list_shards(self, split: str) -> list[str]:
        return find_files(self._files[split])
