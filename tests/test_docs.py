"""What the documentation tells users to write works as it stands there."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from vlm.cli import main
from vlm.data.image_files import encode_png

DOCS = Path(__file__).parents[1] / 'docs'
NAMES = ('my_captions', 'my_questions')


def block(file: str, mark: str) -> str:
    """The fenced block below `<!-- mark -->`."""
    found = re.search(rf'<!-- {mark} -->\n```\w*\n(.*?)```', (DOCS / file).read_text(), re.S)
    assert found, f'{file} has no block marked {mark}'
    return found[1]


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """The folder that docs/tasks.md speaks of, as the current one."""
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos' / 'a.png').write_bytes(encode_png(np.zeros((8, 8, 3), np.uint8)))
    for split in ('train', 'test'):
        rows = [
            {
                'photo': 'a.png',
                'captions': ['a red circle', 'a circle'],
                'question': 'which shape?',
                'answer': 'circle',
            }
        ] * 4
        lines = ''.join(json.dumps(row) + '\n' for row in rows)
        (tmp_path / 'photos' / f'{split}.jsonl').write_text(lines)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('VLM_DATA_DIR', raising=False)
    yield tmp_path
    forget()


def forget() -> None:
    """Forgets what another process would not know."""
    import seqio

    from vlm.data import tasks

    for name in set(NAMES) & set(tasks._SPECS):
        seqio.TaskRegistry.remove(name)
        tasks._SPECS.pop(name)
    sys.modules.pop('my_tasks', None)


def test_tasks_of_your_own_in_gin(photos, capsys):
    (photos / 'my_run.gin').write_text(block('tasks.md', 'own data in gin'))
    for name in NAMES:
        assert main(['tasks', 'check', name, '--gin_file=my_run.gin']) == 0
        assert '4 records, 4 good' in capsys.readouterr().out
        forget()
    assert main(['train', '--gin_file=my_run.gin', "--gin.MODEL_DIR='my_run'", '--dry_run']) == 0
    assert 'my_captions' in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_with_tasks_from_gin_is_evaluated_again(photos):
    (photos / 'my_run.gin').write_text(block('tasks.md', 'own data in gin'))
    sizes = {
        'TRAIN_STEPS': 1,
        'BATCH_SIZE': 2,
        'EVAL_BATCH_SIZE': 2,
        'VitConfig.num_layers': 1,
        'VitConfig.width': 16,
        'VitConfig.mlp_dim': 32,
        'TextConfig.num_layers': 1,
        'TextConfig.width': 16,
        'TextConfig.mlp_dim': 32,
    }
    small = [f'--gin.{name}={value}' for name, value in sizes.items()]
    flags = ['--gin_file=my_run.gin', "--gin.MODEL_DIR='my_run'", *small]
    assert main(['train', *flags]) == 0
    forget()
    assert main(['eval', 'my_run']) == 0
    scores = json.loads((photos / 'my_run' / 'scores.json').read_text())
    assert {score['task'] for score in scores['scores']} == {'my_captions'}


def test_a_vocabulary_for_tasks_from_gin(photos, capsys):
    (photos / 'my_run.gin').write_text(block('tasks.md', 'own data in gin'))
    arguments = ['vocab', 'my_captions', '--gin_file=my_run.gin', '--output=my.model']
    assert main([*arguments, '--size=300']) == 0
    assert (photos / 'my.model').exists()


def test_tasks_of_your_own_in_python(photos, capsys):
    (photos / 'my_tasks.py').write_text(block('tasks.md', 'own data in Python'))
    assert main(['tasks', 'my_captions', '--module=my_tasks', '--examples=1']) == 0
    assert 'circle' in capsys.readouterr().out


CALL = '@my_captions/captioning.add_captioning_task()'
MISTAKES = {
    "name = 'my_captions'": ("name = 'easy_vqa'", 'easy_vqa'),
    'files = %FILES': ('fils = %FILES', 'Nearest: files'),
    "  name = 'my_captions'\n": ('', "'name'"),
    CALL: (CALL[:-2], 'is no call'),
    'photos/train.jsonl': ('photos/trian.jsonl', 'Nearest there: train.jsonl'),
    "'photo'}": ("'{photo'}", "'{photo'"),
}


@pytest.mark.parametrize('right', MISTAKES)
def test_mistakes_in_gin(photos, capsys, right):
    wrong, told = MISTAKES[right]
    text = block('tasks.md', 'own data in gin')
    assert right in text
    (photos / 'my_run.gin').write_text(text.replace(right, wrong))
    assert main(['tasks', 'check', 'my_captions', '--gin_file=my_run.gin']) == 2
    said = capsys.readouterr().err
    assert said.startswith('vlm: ') and told in said
    assert 'Traceback' not in said and said.count('\n') <= 2, said


def test_the_table_of_benchmarks_is_what_is_registered():
    path = Path(__file__).parents[1] / 'benchmarks' / 'list_rows.py'
    spec = importlib.util.spec_from_file_location('list_rows', path)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    assert (DOCS / 'benchmarks.md').read_text() == program.page()
