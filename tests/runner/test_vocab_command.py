"""`vlm vocab`: marks that tasks write are tokens of their own."""

import json

import numpy as np
import pytest

from vlm.cli import main
from vlm.data.image_files import encode_png
from vlm.runner.vocab_command import marks_in
from vlm.vocab import Tokenizer, escape

GIN = """
from __gin__ import dynamic_registration
from vlm.data import sources
from vlm.tasks import split_captioning

sources.Jsonl.files = {'train': 'd.jsonl'}
split_captioning.add_split_captioning_task:
  name = 'vocab_split'
  source = @sources.Jsonl()
REGISTER = [@split_captioning.add_split_captioning_task()]
"""


def test_marks_come_all_or_not_at_all():
    assert marks_in(['caption en', escape('a <seg001> quoted')]) == []
    assert marks_in(['a <seg001> meant'])[-1] == '<seg127>'
    both = marks_in(['x', '<seg001>', 'y <extra_id_0>'])
    assert len(both) == 228 and both[0] == '<extra_id_0>'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    import seqio

    from vlm.data import tasks

    (tmp_path / 'a.png').write_bytes(encode_png(np.zeros((4, 4, 3), np.uint8)))
    rows = [{'image': 'a.png', 'caption': 'a red circle on a blue square'}] * 20
    (tmp_path / 'd.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    (tmp_path / 'split.gin').write_text(GIN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('VLM_DATA_DIR', raising=False)
    yield tmp_path
    seqio.TaskRegistry.remove('vocab_split')
    tasks._SPECS.pop('vocab_split')


def test_a_sentinel_is_one_token(folder, capsys):
    flags = ['--gin_file=split.gin', '--output=v.model', '--size=420']
    assert main(['vocab', 'vocab_split', *flags]) == 0
    tokenizer = Tokenizer(folder / 'v.model')
    assert len(tokenizer.encode('<extra_id_7>')) == 1
    assert len(tokenizer.encode('<seg001>')) > 1
