"""`vlm tasks --mixture`: shares, epochs and tokens by hand; a mixture written in gin alone."""

import json
import re

import numpy as np
import pytest
import seqio
from rich.console import Console

from vlm.cli import main
from vlm.data import mixtures, tasks
from vlm.data.image_files import encode_png

GIN = """
from __gin__ import dynamic_registration
from vlm.data import mixtures
from vlm.data import sources
from vlm.tasks import captioning
from vlm.tasks import vqa

sources.Jsonl.files = {'train': 'd.jsonl'}
captioning.add_captioning_task:
  name = 'mixed_captions'
  source = @sources.Jsonl()
vqa.add_vqa_task:
  name = 'mixed_questions'
  source = @sources.Jsonl()
mixtures.add_mixture:
  name = 'mixed'
  rates = {'mixed_captions': 3, 'mixed_questions': 1}
  origin = 'a test'
REGISTER = [
    @captioning.add_captioning_task(),
    @vqa.add_vqa_task(),
    @mixtures.add_mixture(),
]
"""


@pytest.fixture
def data(tmp_path, monkeypatch):
    (tmp_path / 'a.png').write_bytes(encode_png(np.zeros((4, 4, 3), np.uint8)))
    row = {'image': 'a.png', 'caption': 'red', 'questions': ['a?', 'b?'], 'answers': ['c', 'd']}
    lines = [json.dumps({**row, 'id': str(i)}) for i in range(10)]
    (tmp_path / 'd.jsonl').write_text('\n'.join(lines))
    (tmp_path / 'mix.gin').write_text(GIN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('VLM_DATA_DIR', raising=False)
    yield
    seqio.MixtureRegistry.remove('mixed')
    mixtures._SPECS.pop('mixed')
    for name in ('mixed_captions', 'mixed_questions'):
        seqio.TaskRegistry.remove(name)
        tasks._SPECS.pop(name)


def test_what_the_rates_come_to(data, capsys, monkeypatch):
    wide = Console(width=200, highlight=False)
    monkeypatch.setattr('vlm.runner.show_mixture.console', wide)
    flags = ['--gin_file=mix.gin', '--gin.TRAIN_STEPS=10', '--gin.BATCH_SIZE=8']
    assert main(['tasks', '--mixture', 'mixed', *flags]) == 0
    said = capsys.readouterr().out
    assert '80 examples in the run' in said and 'Rates: a test' in said

    def cells(task: str) -> list[str]:
        (line,) = [x for x in said.splitlines() if task in x]
        return [cell.strip() for cell in re.split('[│┃]', line)[1:-1]]

    captions, questions = cells('mixed_captions'), cells('mixed_questions')
    # Three quarters of 80 examples are 60, six times all ten captions; a record of the questions
    # makes two examples, so that 20 are one epoch.
    assert captions[1:6] == ['3', '75.0%', '10', '60', '6.00']
    assert questions[1:6] == ['1', '25.0%', '10', '20', '1.00']
    assert float(captions[7].replace(',', '')) == pytest.approx(60 * float(captions[6]), rel=0.02)


def test_absent_data_leave_the_shares(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv('VLM_DATA_DIR', str(tmp_path))
    assert main(['tasks', '--mixture', 'pali_x_stage2']) == 0
    said = capsys.readouterr().out
    assert said.count('50.0%') == 2 and "no file 'web/ocr/*.tar'" in said
    assert 'not published' in said
