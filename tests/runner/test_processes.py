"""Runs of several processes: how they are found, and that two do what one does."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import jax
import pytest
import seqio
import tensorflow as tf

from vlm.decoding import DecodingConfig
from vlm.errors import UserError
from vlm.model import VisionTextModel
from vlm.runner import processes
from vlm.runner.mesh import DataMesh, MeshConfig
from vlm.runner.predict import BatchPredictor, OwnPart
from vlm.runner.processes import Cluster, join

HERE = Path(__file__).parent
STEPS = 2
# What is measured, not computed.
MEASURED = {
    'examples_per_second', 'tokens_per_second', 'share_of_waiting_for_data',
    'model_flop_utilisation',
}  # fmt: skip


@pytest.fixture
def joined(monkeypatch) -> list[tuple]:
    """What `jax.distributed.initialize` is called with; nothing in the environment."""
    calls: list[tuple] = []
    monkeypatch.setattr(jax.distributed, 'initialize', lambda *given: calls.append(given))
    for name in ('JAX_COORDINATOR_ADDRESS', 'SLURM_STEP_ID', 'TPU_WORKER_HOSTNAMES'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(processes, 'is_first', lambda: True)
    return calls


def test_a_single_process_joins_nobody(joined, monkeypatch):
    join(Cluster())
    monkeypatch.setenv('SLURM_JOB_ID', '7')  # the shell of an allocation, not a step in it
    monkeypatch.setenv('TPU_WORKER_HOSTNAMES', 'localhost')
    join(Cluster())
    assert joined == []


def test_flags_win_over_the_environment(joined, monkeypatch):
    monkeypatch.setenv('JAX_COORDINATOR_ADDRESS', 'other:1')
    join(Cluster('host:1', 2, 1))
    assert joined == [('host:1', 2, 1)]


def test_processes_are_found_in_the_environment(joined, monkeypatch):
    monkeypatch.setenv('SLURM_STEP_ID', '0')
    monkeypatch.setenv('SLURM_STEP_NUM_TASKS', '4')
    join(Cluster())
    monkeypatch.setenv('JAX_COORDINATOR_ADDRESS', 'host:1')
    monkeypatch.setenv('JAX_NUM_PROCESSES', '2')
    monkeypatch.setenv('JAX_PROCESS_ID', '1')
    join(Cluster())
    assert joined == [(), ('host:1', 2, 1)]
    monkeypatch.delenv('JAX_PROCESS_ID')
    with pytest.raises(UserError, match="must be numbers: 'JAX_PROCESS_ID'"):
        join(Cluster())


@pytest.mark.parametrize(
    ('cluster', 'told'),
    [
        (Cluster('host:1'), '--num_processes and --process_id missing'),
        (Cluster('host:1', 2, 2), '--process_id=2 is not between 0 and --num_processes=2'),
    ],
)
def test_wrong_flags_are_told(cluster, told):
    with pytest.raises(UserError, match=told):
        join(cluster)


class _Echo(VisionTextModel):
    """A model that answers with the first pixel of the image."""

    def __init__(self):
        pass

    def predict_batch(self, params, batch, rng, max_decode_length, decoding):
        return batch['images'][:, 0, 0, 0, :1].astype('int32')


class _Reader(DataMesh):
    """A mesh of this process that reads one part of many."""

    def __init__(self, part: seqio.ShardInfo):
        super().__init__(MeshConfig().build().mesh)
        self._part = part

    @property
    def reader(self) -> seqio.ShardInfo:
        return self._part


@pytest.mark.parametrize(('examples', 'count'), [(9, 1), (9, 2), (8, 2), (2, 3)])
def test_parts_answer_every_example_once(examples, count):
    data = tf.data.Dataset.range(examples).map(
        lambda i: {
            'images': tf.cast(tf.fill((1, 2, 2, 3), i), tf.uint8),
            'image_mask': tf.reshape(i != 3, (1,)),
            'decoder_input_tokens': tf.zeros((4,), tf.int32),
            'decoder_prefix_mask': tf.zeros((4,), tf.bool),
            'decoder_segment_ids': tf.zeros((4,), tf.int32),
        }
    )
    answers = []
    for index in range(count):
        part = seqio.ShardInfo(index=index, num_shards=count)
        predictor = BatchPredictor(_Echo(), _Reader(part), 2 * count, 1, [99], DecodingConfig())
        own = OwnPart(lambda examples, lengths: examples, part)(data, {}).enumerate()
        answers += [(i, row.tolist()) for i, row in predictor(None, own)]
    assert sorted(answers) == [(i, [99 if i == 3 else i]) for i in range(examples)]


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def start(number: int, port: int, arguments: list[str]) -> subprocess.Popen:
    """One of two processes, which fakes two devices."""
    where = [f'--coordinator=localhost:{port}', '--num_processes=2', f'--process_id={number}']
    code = 'import sys; from vlm.cli import main; sys.exit(main())'
    command = [sys.executable, '-c', code, *arguments, *where, '--fake_devices=2']
    return subprocess.Popen(
        command, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_two_processes_train_and_evaluate_as_one(vlm, tiny_gin, tmp_path):
    # In one order: shuffled, two readers of one file each draw their own.
    options = [
        '--gin.datasets.DatasetConfig.shuffle=False',
        *(f'--gin.TRAIN_STEPS={STEPS}', '--gin.LOG_PERIOD=1'),
    ]
    assert vlm('train', *options, run_dir=tmp_path / 'one') == 0
    with socket.socket() as free:
        free.bind(('localhost', 0))
        port = free.getsockname()[1]
    own = [f'--gin_file={tiny_gin}', f'--gin.MODEL_DIR={str(tmp_path / "two")!r}']
    both = [start(i, port, ['train', *own, *options]) for i in range(2)]
    said = [process.communicate(timeout=280) for process in both]
    assert [process.returncode for process in both] == [0, 0], [s[1][-1500:] for s in said]
    assert 'Report:' in said[0][0]
    assert all(line.startswith('[Gloo]') for line in said[1][0].splitlines())
    one, two = (
        [row['values'] for row in rows_of(tmp_path / name / 'metrics.jsonl')]
        for name in ('one', 'two')
    )
    # One writer: a row for each step, one for the evaluation.
    assert len(one) == len(two) == STEPS + 1
    for alone, together in zip(one, two, strict=True):
        for name in alone.keys() - MEASURED:
            assert together[name] == pytest.approx(alone[name], rel=1e-5, abs=1e-6), name
    answers = [rows_of(next((tmp_path / name / 'inference').glob('*.jsonl')))
               for name in ('one', 'two')]  # fmt: skip
    # Each process has saved where it stands in its part of the data.
    positions = tmp_path / 'two' / 'checkpoints' / str(STEPS) / 'data'
    assert {path.name for path in positions.glob('*.json')} == {'process_0.json', 'process_1.json'}
    assert [row['id'] for row in answers[1]] == [f'test/{i}' for i in range(9)]
    assert answers[0] == answers[1]
