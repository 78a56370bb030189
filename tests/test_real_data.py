"""gin/real and the program that prepares its data: what needs no training."""

import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from vlm.cli import main
from vlm.runner.config import GinFlags
from vlm.runner.session import open_session

ROOT = Path(__file__).parents[1]
RUNS = sorted(path.stem for path in (ROOT / 'gin' / 'real').glob('*.gin') if path.stem != 'tasks')


@pytest.fixture(scope='module')
def program():
    path = ROOT / 'benchmarks' / 'real_data.py'
    spec = importlib.util.spec_from_file_location('real_data', path)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path.parent)  # programs there import their neighbours
        spec.loader.exec_module(module)
    return module


def test_memory_is_that_of_each_command_alone():
    # In a process of its own: what is measured is never less than what the measuring one holds.
    program = (
        'import sys, peak_memory\n'
        'for size in (300, 1):\n'
        "    print(peak_memory.run([sys.executable, '-c', f\"b'x' * ({size} << 20)\"]))"
    )
    done = subprocess.run(
        [sys.executable, '-c', program],
        env={**os.environ, 'PYTHONPATH': str(ROOT / 'benchmarks')},
        capture_output=True,
        check=True,
    )
    large, small = map(int, done.stdout.split())
    assert small < 100 << 20 < 300 << 20 < large


def test_a_command_that_fails_is_told(program):
    with pytest.raises(subprocess.CalledProcessError, match='status 3'):
        program.peak_memory.run([sys.executable, '-c', 'raise SystemExit(3)'])


@pytest.fixture(autouse=True)
def forget():
    """Forgets the tasks that a gin file registered."""
    import seqio

    from vlm.data import mixtures, tasks

    before = {*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()}
    yield
    for name in {*seqio.TaskRegistry.names()} - before:
        if name.startswith('real_'):
            tasks.forget(name)
    for name in {*seqio.MixtureRegistry.names()} - before:
        if name.startswith('real_'):
            seqio.MixtureRegistry.remove(name)
            mixtures._SPECS.pop(name)


@pytest.mark.parametrize('name', RUNS)
def test_every_run_is_configured_right(name, tmp_path, capsys):
    if name == 'all':
        pytest.importorskip('easy_vqa')
        pytest.importorskip('sklearn')
    run = f'MODEL_DIR = {str(tmp_path / "run")!r}'
    trainer = open_session(GinFlags([f'real/{name}.gin'], [], [run])).trainer
    asked = trainer.dataset.mixture_or_task_name, trainer.evaluation.mixture_or_task_name
    assert all(each.startswith('real_') for each in asked)
    assert not capsys.readouterr().err  # no binding that nothing reads


@pytest.mark.slow
def test_the_joint_run_is_planned(tmp_path, capsys):
    pytest.importorskip('easy_vqa')
    pytest.importorskip('sklearn')
    run = f'--gin.MODEL_DIR={str(tmp_path / "run")!r}'
    assert main(['train', '--gin_file=real/all.gin', run, '--dry_run']) == 0
    assert 'real_' in capsys.readouterr().out


def archive(path: Path, rows: str, content: list[dict]) -> None:
    path.parent.mkdir(parents=True)
    data = '\n'.join(map(json.dumps, content)).encode()
    with tarfile.open(path, 'w') as file:
        member = tarfile.TarInfo(rows)
        member.size = len(data)
        file.addfile(member, io.BytesIO(data))


def test_every_fifth_row_is_for_testing(program, tmp_path):
    rows = [{'image': f'{i}.jpg', 'text': f'w{i % 3}'} for i in range(11)]
    archive(tmp_path / 'iiit5k/iiit5k_train.tar', 'iiit5k/train/words.jsonl', rows)
    program.prepare('iiit5k', tmp_path, tmp_path / 'data')
    folder = tmp_path / 'data' / 'iiit5k' / 'train'
    test, train = (program.read_rows(folder / f'{split}.jsonl') for split in ('test', 'train'))
    assert test == [rows[0], rows[5], rows[10]] and len(train) == 8
    # w1 at 1, 4, 7; w2 at 2, 8; w0 at 3, 6, 9: the first of the most frequent.
    assert program.most_common_answer('iiit5k', tmp_path / 'data') == 'w1'


def test_mean_box_by_hand(program):
    row = {'width': 10, 'height': 20, 'objects': [{'box': [0, 0, 10, 10]}, {'box': [0, 0, 10, 20]}]}
    # The mean box is the upper three quarters, so the upper half is two thirds of it.
    answered = [{'reference_boxes': [[0, 0, 0.5, 1]]}, {'reference_boxes': [[0.75, 0, 1, 1]]}]
    assert program.mean_box_score('mean_iou', answered, [row]) == pytest.approx(1 / 3)
    assert program.mean_box_score('acc_at_0.5', answered, [row]) == 0.5


def test_objects_that_their_label_does_not_tell_are_left_out(program):
    objects = [{'label': label, 'box': [0, 0, 1, 1]} for label in ('cat', 'dog', 'cat')]
    [kept] = program._unique_objects({'objects': objects})['objects']
    assert kept['label'] == 'dog' and kept['expressions'] == ['dog']


def test_photos_with_nothing_to_ask_for_are_left_out(program, tmp_path):
    cat, dog = ({'label': label, 'box': [0, 0, 1, 1]} for label in ('cat', 'dog'))
    rows = [{'image': f'{i}.jpg', 'objects': [cat, cat] if i % 2 else [cat, dog]} for i in range(7)]
    archive(tmp_path / 'coco_mini/coco_mini_train.tar', 'coco_mini/train/objects.jsonl', rows)
    program.prepare('coco', tmp_path, tmp_path / 'data')
    folder = tmp_path / 'data' / 'coco_mini' / 'train'
    kept = [
        [row['image'] for row in program.read_rows(folder / f'{split}.jsonl')]
        for split in ('test', 'train')
    ]
    assert kept == [['0.jpg'], ['2.jpg', '4.jpg', '6.jpg']]
