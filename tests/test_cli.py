"""Mistakes on the command line: one or two lines, the nearest right name, status 2."""

import re
import subprocess
import sys

import pytest

from vlm.cli import main


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (['train', '--gin_file=dmo.gin'], 'demo.gin'),
        (['train', '--gin_file=demo.gin'], 'MODEL_DIR'),
        (['train', '--gin_file=demo.gin', '--gin.TRAIN_STEP=5'], 'TRAIN_STEPS'),
        (['train', '--dryrun', '--gin_file=demo.gin'], '--dry_run'),
        (['train'], '--gin_file=demo.gin'),
        (['trian'], "invalid choice: 'trian'"),
        (['ask', 'no_such_run', 'x.png', 'what?'], 'x.png'),
        (['eval', 'no_such_run'], 'no_such_run'),
        (['tasks', 'easy_vqq'], 'easy_vqa'),
        (['tasks', '--module=no.such.module'], 'no.such.module'),
        (['vocab', 'easy_vqq', '--output=v.model'], 'easy_vqa'),
        (['ask', '--gin.X=1', 'run', 'x.png', 'what?'], 'takes no gin flags'),
    ],
)
def test_a_mistake_is_told_shortly(arguments, expected, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert said.startswith('vlm: ') and said.count('\n') <= 2 and 'Traceback' not in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('macro', 'expected'),
    [
        ("MIXTURE_OR_TASK_NAME='dem'", 'demo'),
        ("EVAL_MIXTURE_OR_TASK_NAME='demo_evl'", 'demo_eval'),
        ("EVAL_SPLIT='tst'", 'test'),
        ("WIRING='decoder_prefx'", 'decoder_prefix'),
        ("PROMPTS={'easy_vqq': 'x'}", 'easy_vqa'),
        ('PATCH_SIZE=7', 'does not divide'),
        ("TASK_FEATURE_LENGTHS={'images': 1, 'inputs': 64}", 'targets'),
        ("TASK_FEATURE_LENGTHS={'images': 1, 'inputs': 64, 'targets': 99}", 'max_answer_tokens'),
        ('vit.VitConfig.num_heads=3', 'does not divide'),
        ('vit.VitConfig.widht=3', 'width'),
        ("VOCABULARY='no.model'", 'no.model'),
        ("RESIZE='sqare'", 'square'),
    ],
)
def test_a_wrong_value_is_told_before_anything_is_written(
    macro, expected, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    flags = ['--gin_file=demo.gin', "--gin.MODEL_DIR='run'", f'--gin.{macro}']
    assert main(['train', *flags]) == 2
    said = capsys.readouterr().err
    assert expected in said and said.count('\n') <= 2, said
    assert not list(tmp_path.iterdir())


def test_dry_run_says_what_a_step_takes_and_writes_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ['--gin.BATCH_SIZE=2', '--gin.IMAGE_SIZE=(16, 16)', '--gin.vit.VitConfig.num_layers=1']
    flags = ['--gin_file=demo.gin', "--gin.MODEL_DIR='run'", *small, '--dry_run']
    assert main(['train', *flags]) == 0
    said = capsys.readouterr().out
    total = int(re.search(r'model +([\d,]+) parameters', said)[1].replace(',', ''))
    # All on one device, in float32, with Adam's or Muon's moments beside them.
    assert f'parameters  {total * 4 / 2**20:.1f} MiB a device' in said
    assert re.search(r'images +2 x 1 x 16 x 16 x 3', said)
    assert re.search(r'operations +\d\S+ a step', said)
    assert re.search(r'memory +[\d.]+ MiB a device at most', said)
    assert not list(tmp_path.iterdir())


def test_examples_are_shown_token_by_token(capsys, tmp_path):
    assert main(['tasks', 'digits_ocr', '--examples=1', f'--images={tmp_path}']) == 0
    said = capsys.readouterr().out
    assert '(start)' in said and 'ocr' in said and 'image, 0-2' in said
    assert len(list(tmp_path.glob('*.png'))) == 1


def test_help_imports_nothing_heavy():
    program = (
        'import sys\n'
        'from vlm.cli import main\n'
        'try:\n    main(["--help"])\nexcept SystemExit:\n    pass\n'
        'heavy = {"tensorflow", "jax", "seqio", "numpy"} & set(sys.modules)\n'
        'assert not heavy, heavy\n'
    )
    subprocess.run([sys.executable, '-c', program], check=True, capture_output=True)


INTERRUPTED = """
import threading, time
from vlm import cli

def interrupted(arguments):
    threading.Thread(target=time.sleep, args=[120]).start()
    print('so far', end='')
    raise KeyboardInterrupt

cli._dispatch = interrupted
cli.console_script()
"""


def test_an_interrupted_command_does_not_wait_for_its_threads():
    ended = subprocess.run([sys.executable, '-c', INTERRUPTED], capture_output=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (130, b'so far')
    assert ended.stderr == b'vlm: interrupted.\n'


MY_TASKS = """
from vlm.data.sources import RecordSource
from vlm.errors import UserError
from vlm.tasks.vqa import add_vqa_task


def read(split):
    raise UserError('there is no folder photos')


add_vqa_task('my_broken_task', RecordSource(read, {'train': None}))
"""


def test_a_mistake_inside_the_input_pipeline_is_told_shortly(capsys, tmp_path, monkeypatch):
    (tmp_path / 'my_broken_tasks.py').write_text(MY_TASKS)
    monkeypatch.chdir(tmp_path)
    assert main(['tasks', 'my_broken_task', '--module=my_broken_tasks']) == 2
    assert capsys.readouterr().err == 'vlm: there is no folder photos\n'
