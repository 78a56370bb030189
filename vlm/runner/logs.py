"""Numbers of a run: `metrics.jsonl` and TensorBoard events with the same keys."""

import json
import time
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from vlm.runner.run_dir import RunDir

# What makes TensorBoard draw a value as a curve. `tf.summary.scalar` would write the same, but
# wants TensorBoard itself installed.
_SCALAR = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name='scalars')
)


class MetricsLog:
    """Appends to `metrics.jsonl` and to TensorBoard events beside it."""

    def __init__(self, run: RunDir):
        self._file = run.metrics.open('a', encoding='utf-8')
        self._events = tf.summary.create_file_writer(str(run.path / 'tensorboard'))

    def write(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """One log point; `kind` is 'train', 'eval' or 'data'."""
        values = {name: float(value) for name, value in values.items()}
        row = {'step': step, 'time': time.time(), 'kind': kind, 'values': values}
        self._file.write(json.dumps(row) + '\n')
        self._file.flush()
        with self._events.as_default(step=step):
            for name, value in values.items():
                tf.summary.write(f'{kind}/{name}', value, metadata=_SCALAR)

    def close(self) -> None:
        self._file.close()
        self._events.close()
