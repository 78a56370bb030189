"""Numbers of a run: `metrics.jsonl` and TensorBoard events with the same keys; sample answers."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from vlm.runner.run_dir import RunDir
from vlm.runner.sample_answers import answer_picture, answer_table, picture_size


def _shown_by(plugin: str, kind: int) -> tf.compat.v1.SummaryMetadata:
    """What makes TensorBoard draw a value as a curve, a picture or a text.

    `tf.summary.scalar` and its kin would write the same, but want TensorBoard itself installed.
    `kind` is its DataClass: 1 scalar, 2 tensor, 3 a sequence of blobs.
    """
    data = tf.compat.v1.SummaryMetadata.PluginData(plugin_name=plugin)
    return tf.compat.v1.SummaryMetadata(plugin_data=data, data_class=kind)


_SCALAR, _TEXT, _IMAGES = _shown_by('scalars', 1), _shown_by('text', 2), _shown_by('images', 3)


class MetricsLog:
    """Appends to `metrics.jsonl` and to TensorBoard events beside it."""

    def __init__(self, run: RunDir):
        self._run = run
        self._file = run.metrics.open('a', encoding='utf-8')
        self._events = tf.summary.create_file_writer(str(run.path / 'tensorboard'))

    def go_on_after(self, step: int) -> None:
        """Drops what a run that was killed had logged beyond the checkpoint it goes on from.

        Those steps come again. TensorBoard is told by itself, by steps that go back.
        """
        path = self._run.metrics
        lines = path.read_bytes().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b'\n')]
        kept = [line for line in whole if json.loads(line)['step'] <= step]
        if len(kept) < len(lines):
            self._file.close()
            partial = path.with_name(path.name + '.partial')
            partial.write_bytes(b''.join(kept))
            partial.replace(path)
            self._file = path.open('a', encoding='utf-8')

    def write(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """One log point; `kind` is 'train', 'eval', 'data' or 'guard'.

        Raises FileNotFoundError if the file is gone: what is written to it would be lost unseen.
        """
        self._run.metrics.stat()
        values = {name: float(value) for name, value in values.items()}
        row = {'step': step, 'time': time.time(), 'kind': kind, 'values': values}
        self._file.write(json.dumps(row) + '\n')
        self._file.flush()
        with self._events.as_default(step=step):
            for name, value in values.items():
                tf.summary.write(f'{kind}/{name}', value, metadata=_SCALAR)

    def write_samples(self, step: int, task: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Shows answers that have a picture in TensorBoard; `rows` are those of `result_rows`."""
        shown = [row for row in rows if row.get('image')]
        if not shown:
            return
        pictures = [answer_picture(self._run.path / row['image'], row) for row in shown]
        with self._events.as_default(step=step):
            # The format of a picture summary: width and height of the first, then all files.
            sides = [str(side).encode() for side in picture_size(pictures[0])]
            tf.summary.write(f'samples/{task}/pictures', [*sides, *pictures], metadata=_IMAGES)
            tf.summary.write(f'samples/{task}/text', answer_table(shown), metadata=_TEXT)

    def close(self) -> None:
        self._file.close()
        self._events.close()
