"""`vlm tasks check`: everything it is to find, and a clean copy that is read back."""

import json

import numpy as np
import pytest

from vlm.cli import main
from vlm.data.image_files import encode_png

TASKS = """
from vlm.data.mixtures import add_mixture
from vlm.data.sources import Jsonl
from vlm.data.tasks import add_group
from vlm.tasks.captioning import add_captioning_task
from vlm.tasks.detection import add_detection_task

SOURCE = Jsonl({'train': 'd.jsonl', 'good': 'good.jsonl', 'clean': 'out/clean.jsonl'})
CAPTIONS = add_captioning_task('checked_captions', SOURCE)
DETECTION = add_detection_task('checked_boxes', SOURCE)
add_group('checked_group', SOURCE, [CAPTIONS, DETECTION])
add_mixture('checked_mixture', rates={'checked_captions': 1, 'checked_boxes': 1})
"""
GOOD = {'image': 'a.png', 'caption': 'a red circle', 'objects': []}
BAD = [
    {**GOOD, 'id': 'missing', 'image': 'b.png'},
    {**GOOD, 'id': 'broken', 'image': 'broken.png'},
    {**GOOD, 'id': 'empty', 'caption': ' \u200b'},
    {**GOOD, 'id': 'inverted', 'objects': [{'label': 'x', 'box': [0.5, 0, 0.2, 1]}]},
    {**GOOD, 'id': 'outside', 'objects': [{'label': 'x', 'box': [0, 0, 1, 7]}]},
    {'id': 'captionless', 'image': 'a.png'},
]


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder with a module of tasks, where the command runs."""
    import sys

    import seqio

    from vlm.data import mixtures, tasks

    png = encode_png(np.zeros((8, 8, 3), np.uint8))
    (tmp_path / 'a.png').write_bytes(png)
    (tmp_path / 'broken.png').write_bytes(png[:-20])
    (tmp_path / 'checked_tasks.py').write_text(TASKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('VLM_DATA_DIR', raising=False)
    yield tmp_path
    sys.modules.pop('checked_tasks', None)
    if 'checked_mixture' in seqio.MixtureRegistry.names():
        seqio.MixtureRegistry.remove('checked_mixture')
        mixtures._SPECS.pop('checked_mixture')
    for name in ('checked_captions', 'checked_boxes', 'checked_group'):
        if name in seqio.TaskRegistry.names():
            seqio.TaskRegistry.remove(name)
            tasks._SPECS.pop(name, None)
            tasks._GROUPS.pop(name, None)


def write(path, rows: list) -> None:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text('\n'.join(lines) + '\n')


def check(*arguments: str, task: str = 'checked_captions') -> int:
    return main(['tasks', 'check', task, '--module=checked_tasks', *arguments])


def test_nothing_wrong(data, capsys):
    write(data / 'good.jsonl', [{**GOOD, 'id': str(i)} for i in range(120)])
    assert check('--split=good') == 0
    said = capsys.readouterr().out
    assert '120 records, 120 good' in said and '0 would be cut, 0.00% unknown' in said


def test_everything_wrong_is_counted_and_named(data, capsys):
    good = {**GOOD, 'id': 'good'}
    long = {**GOOD, 'id': 'long', 'caption': 'red ' * 100}
    write(data / 'd.jsonl', [good, good, long, '{"broken', *BAD])
    assert check() == 1
    said = capsys.readouterr().out
    found = {
        'missing images: 1': 'missing: ',
        'undecodable images: 1': 'broken: ',
        'empty texts: 1': 'empty: ',
        'bad boxes: 2': 'inverted: ',
        'unusable records: 1': "captionless: KeyError: 'caption'",
        'duplicate ids: 1': 'good: ',
        'overlong texts: 1': 'long: ',
        'unreadable rows: 1': 'd.jsonl:4: not JSON',
    }
    for kind, first in found.items():
        assert f'{kind}\n    {first}' in said
    assert '9 records, 2 good' in said  # the long one is no fault of the data's


def test_groups_and_mixtures(data, capsys):
    objects = [{'label': 'x', 'box': [0, 0, 1, 1]}]
    write(data / 'd.jsonl', [{**GOOD, 'id': str(i), 'objects': objects} for i in range(3)])
    assert check(task='checked_group') == 0
    both = capsys.readouterr().out
    assert check(task='checked_mixture') == 0
    said = capsys.readouterr().out
    assert said.count('3 records, 3 good') == 2

    def tokens(text: str) -> list[int]:
        return [
            int(line.split('good. ')[1].split()[0])
            for line in text.splitlines()
            if 'good. ' in line
        ]

    assert tokens(both) == [sum(tokens(said))] and min(tokens(said)) > 0
    write(data / 'd.jsonl', [{**GOOD, 'id': 'x', 'objects': [{'label': 'x'}]}])
    assert check(task='checked_mixture') == 1
    assert (
        main(['tasks', 'check', 'checked_mixture', '--module=checked_tasks', '--write_clean=x'])
        == 2
    )


def test_tokens_that_would_be_cut_are_counted(data, capsys):
    write(data / 'd.jsonl', [{**GOOD, 'id': 'x', 'caption': 'red ' * 100}])
    lengths = "{'images': 1, 'inputs': 64, 'targets': 10}"
    assert check('--gin.TASK_FEATURE_LENGTHS=' + lengths) == 1
    said = capsys.readouterr().out
    tokens = int(said.split(' tokens of targets')[0].split()[-1])
    assert f'{tokens - 10} more than there is room for' in said
    assert f'{tokens - 10} would be cut' in said and tokens > 100


def test_the_good_rows_are_read_back(data, capsys):
    box = {'label': 'circle', 'box': [0, 0.25, 0.5, 1]}
    good = [{**GOOD, 'id': str(i), 'objects': [box], 'extra': {'n': i}} for i in range(3)]
    write(data / 'd.jsonl', [good[0], *BAD, good[1], good[1], good[2]])
    (data / 'out').mkdir()
    assert check('--write_clean=beside.jsonl') == 1
    rows = [json.loads(line) for line in (data / 'beside.jsonl').read_text().splitlines()]
    assert [row['images'] for row in rows] == [['a.png']] * 3
    # A folder below the images' cannot name them by path.
    assert check('--write_clean=out/clean.jsonl') == 1
    rows = [json.loads(line) for line in (data / 'out' / 'clean.jsonl').read_text().splitlines()]
    assert all(row['images'][0].startswith('data:') for row in rows)
    assert [row['extra'] for row in rows] == [{'n': 0}, {'n': 1}, {'n': 2}]
    assert check('--split=clean') == 0
    assert check('--split=clean', task='checked_boxes') == 0
    assert '3 records, 3 good' in capsys.readouterr().out


def test_mistakes(data, capsys):
    write(data / 'd.jsonl', [GOOD])
    for arguments, expected in [
        (['check'], 'wants the name'),
        (['check', 'checked_caption'], 'checked_captions'),
        (['check', 'checked_captions', '--split=tarin'], 'train'),
        (['check', 'checked_captions', '--split=good'], "no file 'good.jsonl'"),
        (['check', 'checked_captions', '--write_clean=d.jsonl'], 'give a new file'),
        (['checked_captions', '--write_clean=x.jsonl'], 'vlm tasks check NAME'),
    ]:
        assert main(['tasks', *arguments, '--module=checked_tasks']) == 2
        assert expected in capsys.readouterr().err
    assert (data / 'd.jsonl').read_text() == json.dumps(GOOD) + '\n'
