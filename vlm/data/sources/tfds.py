"""Data sets of TensorFlow Datasets that are prepared on this machine."""

import bisect
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from vlm.data.examples import Record
from vlm.data.sources.box_formats import RELATIVE
from vlm.data.sources.files import data_dir
from vlm.data.sources.mapping import FieldOf, Mapper, readable
from vlm.data.sources.sharded import Row, ShardedSource, Transform
from vlm.data.sources.tfrecord import encoded_image
from vlm.errors import UserError, unknown_name


class Tfds(ShardedSource):
    """Rows of a prepared data set; features are fields, class numbers are replaced by their names.

    Pictures stay encoded. Features of columns, such as COCO's `objects`, become a list of rows. The
    id is a feature `id`, or split and number of the row, from 0. Nothing is ever downloaded.

    Args:
      name: of the data set, e.g. 'coco_captions' or 'coco/2017:1.1.0'.
      splits: our name of a split -> TFDS's, slices included: {'validation': 'train[90%:]'}.
      folder: where it was prepared, below `data_dir`; None for TFDS's own place.
      fields, object_fields, box_format: see `mapping.Mapper`; TFDS writes boxes 'yxyx relative'.
      weight, transform: see `ShardedSource`.
    """

    def __init__(
        self,
        name: str,
        splits: Mapping[str, str],
        folder: str | None = None,
        fields: Mapping[str, FieldOf] | None = None,
        object_fields: Mapping[str, FieldOf] | None = None,
        box_format: str = RELATIVE,
        weight: str | None = None,
        transform: Transform | None = None,
    ):
        super().__init__(splits, weight, transform)
        self.name, self._folder = name, folder
        self._specs = dict(splits)
        self._mapper = Mapper(fields or {}, object_fields or {}, box_format)

    @functools.cached_property
    def _builder(self) -> Any:
        return prepared(self.name, self._folder and str(data_dir() / self._folder))

    def list_shards(self, split: str) -> list[str]:
        """The split in pieces that end where TFDS's files end: 'train[0:500]', ..."""
        import tensorflow_datasets as tfds

        splits = self._builder.info.splits
        try:
            pieces = tfds.core.ReadInstruction.from_spec(self._specs[split]).to_absolute(splits)
        except (KeyError, ValueError, AssertionError) as error:
            raise UserError(f'{self.name} has no split {self._specs[split]!r}: {error}') from None
        return [
            f'{piece.splitname}[{start}:{end}]'
            for piece in pieces
            for start, end in _cut(piece.from_, piece.to, splits[piece.splitname].shard_lengths)
        ]

    def rows(self, file: str) -> Iterator[Row]:
        import tensorflow_datasets as tfds

        split, _, start = file.partition(':')[0].partition('[')
        options = tf.data.Options()
        # It is read from within another pipeline, which must not wait for its own threads.
        options.threading.private_threadpool_size = 2
        dataset = self._builder.as_dataset(
            split=file,
            decoders=_undecoded(self._builder.info.features),
            read_config=tfds.ReadConfig(options=options, try_autocache=False),
        )
        for number, row in enumerate(dataset.as_numpy_iterator(), start=int(start)):
            yield f'{self.name}/{split}/{number}', row

    def record(self, file: str, row: Row) -> Record:
        where, features = row
        named = readable(_with_names(features, self._builder.info.features))
        return self._mapper.record(named, where, encoded_image)


def prepared(name: str, folder: str | None) -> Any:
    """TFDS's builder of a data set; UserError where it is unknown or was never prepared."""
    try:
        import tensorflow_datasets as tfds

        builder = tfds.builder(name, data_dir=folder)
    except ImportError as error:
        raise UserError(
            f'the TFDS data set {name} needs a package: {error}. Try: pip install {error.name}'
        ) from None
    except tfds.core.registered.DatasetNotFoundError:
        known = tfds.list_builders(with_community_datasets=False)
        raise unknown_name('TFDS data set', name, known, 'Tfds.name') from None
    if not builder.info.splits:
        raise UserError(
            f'the TFDS data set {name} is not prepared in {builder.data_dir}. Prepare it once: '
            f'tfds build {name}'
        )
    return builder


def _cut(start: int | None, end: int | None, lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Cuts [start, end) where files of these lengths end: (2, 7) of 3, 3, 3 -> 2-3, 3-6, 6-7."""
    borders = list(itertools.accumulate(lengths))
    first, last = start or 0, borders[-1] if end is None else end
    inner = borders[bisect.bisect_right(borders, first) : bisect.bisect_left(borders, last)]
    return list(itertools.pairwise([first, *inner, last]))


def _undecoded(features: Any) -> dict[str, Any]:
    """Tells TFDS to leave pictures, and sequences of them, as their files were."""
    import tensorflow_datasets as tfds

    return {
        name: tfds.decode.SkipDecoding()
        for name, feature in features.items()
        if isinstance(getattr(feature, 'feature', feature), tfds.features.Image)
    }


def _with_names(value: Any, feature: Any) -> Any:
    """Replaces class numbers by names wherever the features have some."""
    import tensorflow_datasets as tfds

    if isinstance(value, Mapping):
        inner = getattr(feature, 'feature', feature)  # a sequence of dicts comes as a dict
        return {name: _with_names(entry, inner[name]) for name, entry in value.items()}
    feature = getattr(feature, 'feature', feature)
    if not isinstance(feature, tfds.features.ClassLabel) or not feature.names:
        return value
    if not getattr(value, 'ndim', 0):
        return feature.int2str(int(value)) if value >= 0 else None
    return [_with_names(entry, feature) for entry in value]
