"""Runs of several processes: how they are found, and that two do what one does."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import seqio
import tensorflow as tf

from vlm.decoding import DecodingConfig
from vlm.errors import UserError
from vlm.model import VisionTextModel
from vlm.runner import processes
from vlm.runner.checkpoints import latest_step, restore_params
from vlm.runner.mesh import DataMesh, MeshConfig
from vlm.runner.predict import BatchPredictor, OwnPart
from vlm.runner.processes import Cluster, join
from vlm.runner.run_dir import RunDir

HERE = Path(__file__).parent
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


# What Gloo prints of its connections, several threads at once and between each other's words.
GLOO = re.compile(
    r'\[Gloo\] Rank|is connected to|Expected number of connected|peer ranks( is :|\.)|\d|\s'
)


def start(arguments: list[str]) -> list[subprocess.Popen]:
    """Two processes, each of which fakes two devices."""
    with socket.socket() as free:
        free.bind(('localhost', 0))
        port = free.getsockname()[1]
    code = 'import sys; from vlm.cli import main; sys.exit(main())'
    both = []
    for number in range(2):
        where = [f'--coordinator=localhost:{port}', '--num_processes=2', f'--process_id={number}']
        command = [sys.executable, '-c', code, *arguments, *where, '--fake_devices=2']
        pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}
        both.append(subprocess.Popen(command, cwd=HERE, **pipes))
    return both


def ended(both: list[subprocess.Popen]) -> str:
    """What the first of two processes said; the second says nothing, and none fails."""
    try:
        said = [process.communicate(timeout=200) for process in both]
    finally:
        for process in both:
            process.kill()
    assert [process.returncode for process in both] == [0, 0], [s[1][-1500:] for s in said]
    assert GLOO.sub('', said[1][0]) == ''
    return said[0][0]


def wait_for(path: Path, both: list[subprocess.Popen]) -> None:
    """Returns when there is something in a file, or a folder, or when a process has ended."""
    while all(process.poll() is None for process in both):
        if path.exists() and path.stat().st_size:
            return
        time.sleep(0.1)


def assert_close(some: list[dict], others: list[dict]) -> None:
    """The same values, row by row, but for what is measured."""
    for one, other in zip(some, others, strict=True):
        for name in one.keys() - MEASURED:
            assert other[name] == pytest.approx(one[name], rel=1e-5, abs=1e-6), name


def losses_of(run: Path) -> list[float]:
    rows = rows_of(run / 'metrics.jsonl')
    return [row['values']['loss'] for row in rows if row['kind'] == 'train']


def values_of(run: Path) -> list[dict]:
    return [row['values'] for row in rows_of(run / 'metrics.jsonl')]


@pytest.mark.slow
def test_one_of_two_is_killed_and_both_go_on_as_if_nothing_had_happened(tiny_gin, tmp_path):
    def both_of(run: Path) -> list[subprocess.Popen]:
        own = [f'--gin_file={tiny_gin}', f'--gin.MODEL_DIR={str(run)!r}', '--gin.LOG_PERIOD=1']
        return start(['train', *own, '--gin.CHECKPOINT_PERIOD=10'])

    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    ended(both_of(whole))
    both = both_of(killed)
    wait_for(killed / 'checkpoints' / '10', both)
    both[1].kill()
    both[0].kill()  # it would wait for the other until the coordination service gives that up
    for process in both:
        process.communicate()
    assert latest_step(RunDir(killed)) < 60
    ended(both_of(killed))
    some, others = (jax.tree.leaves(restore_params(RunDir(run))[1]) for run in (whole, killed))
    for one, other in zip(some, others, strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    assert losses_of(whole) == losses_of(killed)


OPTIONS = [
    # In one order: shuffled, two readers of one file each draw their own.
    '--gin.datasets.DatasetConfig.shuffle=False',
    *('--gin.LOG_PERIOD=1', '--gin.LEARNING_RATE=1e-4'),
]


def in_order(tiny_gin: Path, run: Path, steps: int) -> list[str]:
    own = [f'--gin_file={tiny_gin}', f'--gin.MODEL_DIR={str(run)!r}']
    return ['train', *own, *OPTIONS, f'--gin.TRAIN_STEPS={steps}']


def test_two_stop_together_and_go_on_as_one(vlm, tiny_gin, tmp_path, capsys):
    one, two = tmp_path / 'one', tmp_path / 'two'
    # Two processes of which one is asked to stop.
    both = start([*in_order(tiny_gin, two, 100_000), '--gin.CHECKPOINT_PERIOD=100000'])
    wait_for(two / 'metrics.jsonl', both)
    both[1].send_signal(signal.SIGTERM)
    told = re.search(r'Stopped and saved at step ([\d,]+)', ended(both))
    stopped = int(told[1].replace(',', ''))
    assert latest_step(RunDir(two)) == stopped
    positions = two / 'checkpoints' / str(stopped) / 'data'
    assert {path.name for path in positions.glob('*.json')} == {'process_0.json', 'process_1.json'}

    # One that is not stopped does the same.
    more = {'TRAIN_STEPS': stopped + 2, 'evaluated': False}
    assert vlm('train', *OPTIONS, run_dir=one, **more) == 0
    assert_close(values_of(one)[:2], values_of(two)[:2])
    # Rounding differs, and grows with every step.
    assert losses_of(two) == pytest.approx(losses_of(one)[:stopped], rel=1e-3)

    # It goes on where two were.
    capsys.readouterr()
    assert vlm('train', *OPTIONS, run_dir=two, **more) == 0
    assert f'the first {8 * stopped:,} examples are passed over' in capsys.readouterr().out
    assert losses_of(two) == pytest.approx(losses_of(one), rel=1e-3)


@pytest.mark.slow
def test_two_go_on_where_one_was_and_give_its_answers(vlm, tiny_gin, tmp_path):
    one, again = tmp_path / 'one', tmp_path / 'again'
    assert vlm('train', *OPTIONS, run_dir=one, TRAIN_STEPS=6, CHECKPOINT_PERIOD=4) == 0
    whole = values_of(one)
    assert len(whole) == 7  # one writer: a row for each step, one for the evaluation
    shutil.copytree(one, again)
    for made in (again / 'checkpoints' / '6', again / 'inference'):
        shutil.rmtree(made)
    assert 'Report:' in ended(start(in_order(tiny_gin, again, 6)))
    assert_close(whole, values_of(again))
    answers = [rows_of(next((run / 'inference').glob('*.jsonl'))) for run in (one, again)]
    assert [row['id'] for row in answers[1]] == [f'test/{i}' for i in range(9)]
    assert answers[0] == answers[1]
