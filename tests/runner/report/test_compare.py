"""Several runs on one page."""

import json
from pathlib import Path

import pytest

from vlm.cli import main
from vlm.errors import UserError
from vlm.runner.report import write_comparison
from vlm.runner.report.compare import settings


def write_run(path: Path, value: float, error: float, answer: str, rate: float) -> Path:
    """A run directory of two log points, two scores and two answers."""
    (path / 'inference').mkdir(parents=True)
    rows = [
        {'step': step, 'kind': 'train', 'values': {'loss': 3.0 / step, 'task_loss/a': 1.0}}
        for step in (1, 2)
    ]
    (path / 'metrics.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    score = {'task': 'vqa', 'n': 9, 'version': '1', 'prompt': 'p'}
    scores = [
        {**score, 'metric': 'accuracy', 'value': value},
        {**score, 'metric': 'word_error_rate', 'value': error},
    ]
    (path / 'scores.json').write_text(json.dumps({'step': 2, 'scores': scores}))
    answers = [
        {'id': name, 'prompt': 'what?', 'prediction': said, 'references': ['y'], 'score': 1.0}
        for name, said in (('same', 'x'), ('other', answer))
    ]
    lines = '\n'.join(map(json.dumps, answers))
    (path / 'inference' / 'vqa-000002.jsonl').write_text(lines)
    (path / 'config.gin').write_text(f'# c\nBATCH_SIZE = 8\nLEARNING_RATE = {rate}\n')
    return path


@pytest.fixture
def runs(tmp_path):
    first = write_run(tmp_path / 'x' / 'run', 0.8, 0.3, 'zebra', 0.1)
    second = write_run(tmp_path / 'y' / 'run', 0.7, 0.2, 'okapi', 0.2)
    return first, second


def test_scores_curves_answers_and_differences_stand_side_by_side(runs, tmp_path):
    page = write_comparison(runs, tmp_path / 'page.html').read_text('utf-8')
    assert 'x/run' in page and 'y/run' in page
    assert '<td><b class="best">0.800</b></td><td>0.700</td>' in page
    assert '<td>0.300</td><td><b class="best">0.200</b></td>' in page  # an error: lower is better
    assert page.count('class="line"') == 2 * 2  # loss and task_loss/a of both
    # The example on which they disagree comes first.
    assert page.index('zebra') < page.index('okapi') < page.index('>x</p>')
    assert '<code>LEARNING_RATE</code>' in page.replace('<bdi>', '').replace('</bdi>', '')
    assert 'BATCH_SIZE' not in page and '1 other settings are the same' in page
    assert 'http' not in page.replace('http-equiv', '')


def test_scores_that_cannot_be_compared_are_told(runs, tmp_path):
    content = json.loads((runs[1] / 'scores.json').read_text())
    content['scores'][0]['version'] = '2'
    del content['scores'][1]
    (runs[1] / 'scores.json').write_text(json.dumps(content))
    page = write_comparison(runs, tmp_path / 'page.html').read_text('utf-8')
    assert page.count('different versions of the metric') == 1
    assert '<td>0.300</td><td></td>' in page


def test_command_line(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(['report', *map(str, runs)]) == 0
    assert capsys.readouterr().out.strip() == 'comparison.html'
    assert main(['report', str(runs[0]), '--output=one.html']) == 0
    assert (tmp_path / 'one.html').is_file() and not (runs[0] / 'report.html').exists()
    with pytest.raises(UserError, match='nothing to report on'):
        write_comparison([runs[0], tmp_path / 'x'], tmp_path / 'page.html')


def test_runs_that_lack_everything_but_scores(tmp_path):
    for name in ('a', 'b'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'scores.json').write_text('{}')
    page = write_comparison([tmp_path / 'a', tmp_path / 'b'], tmp_path / 'p.html').read_text()
    assert '2 runs compared' in page


def test_settings_of_several_lines():
    text = "import x\n# c\na.b = \\\n    3\nc = {'x': 1,\n     'y': 2}\n\nd = @e()\n"
    assert settings(text) == {'a.b': '3', 'c': "{'x': 1, 'y': 2}", 'd': '@e()'}
