"""Asking a run: prompts, boxes, and files that are no images; without TensorFlow."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from vlm.boxes import BoxCodec
from vlm.data.image_files import decode_image, encode_png
from vlm.errors import UserError
from vlm.runner.ask import Answer, Predictor


@pytest.fixture(scope='module')
def predictor(trained):
    return Predictor.load(trained)


@pytest.fixture(scope='module')
def blue_square():
    pixels = np.full((16, 16, 3), 255, np.uint8)
    pixels[3:11, 5:13] = (0, 0, 255)
    return encode_png(pixels)


def test_a_question_is_put_into_the_question_template(predictor, blue_square):
    answer = predictor.ask(blue_square, 'what color is it?')
    assert answer.prompt == 'answer en what color is it?'
    assert answer.text == 'blue'
    assert -1.0 < answer.score < 0.0
    assert answer.boxes == []


def test_a_prompt_of_a_task_is_left_as_it_is(predictor, blue_square):
    assert predictor.ask(blue_square, 'answer en what color is it?').text == 'blue'
    assert predictor.prompt_for('answer en x') == 'answer en x'


def test_too_long_a_prompt_says_so(predictor, blue_square):
    with pytest.raises(UserError, match='takes 16'):
        predictor.ask(blue_square, 'what ' * 40)


def test_serving_needs_no_tensorflow_and_is_quiet(trained, tmp_path, blue_square):
    (tmp_path / 'a.png').write_bytes(blue_square)
    program = f"""
import sys
for name in ('tensorflow', 'seqio', 'gin', 'tensorflow_text'):
    sys.modules[name] = None
from vlm.runner.ask import Predictor
print(Predictor.load({str(trained)!r}).ask(open('a.png', 'rb').read(), 'what color is it?').text)
"""
    done = subprocess.run(
        [sys.executable, '-c', program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == 'blue'
    assert 'absl' not in done.stderr  # nor does Orbax wonder about what is not read


@pytest.mark.parametrize('content', [None, b'', b'no image at all'])
def test_a_file_that_is_no_image_is_one_line(vlm, trained, tmp_path, capsys, content):
    path = tmp_path / 'picture.png'
    if content is not None:
        path.write_bytes(content)
    assert vlm('ask', str(trained), str(path), 'what color is it?') == 2
    said = capsys.readouterr().err
    assert said.count('\n') == 1 and 'picture.png' in said


def test_a_box_is_printed_and_drawn(vlm, trained, tmp_path, blue_square, capsys, monkeypatch):
    box = (3 / 16, 5 / 16, 11 / 16, 13 / 16)
    said = Answer('ARef: blue square :', '<loc...>', -0.1, [(box, 'blue square')])
    monkeypatch.setattr(Predictor, 'ask', lambda self, image, question: said)
    (tmp_path / 'square.png').write_bytes(blue_square)
    monkeypatch.chdir(tmp_path)
    assert vlm('ask', str(trained), 'square.png', 'ARef: blue square :') == 0
    out = capsys.readouterr().out
    assert '0.188 0.312 0.688 0.812 blue square' in out
    assert 'drawn in square.boxes.png' in out
    assert max(decode_image((tmp_path / 'square.boxes.png').read_bytes()).shape) >= 384


def test_boxes_are_read_from_tokens_and_put_back_into_the_stored_image(trained):
    loaded = Predictor.load(trained)
    serving = dataclasses.replace(
        loaded.serving,
        codecs={'some_task': BoxCodec()},
        frame={'size': [16, 16], 'resize': 'pad', 'filter': 'bilinear'},
    )
    asked = Predictor(serving, None, loaded.tokenizer)
    wide = encode_png(np.zeros((8, 16, 3), np.uint8))  # fills the upper half of the frame
    codec = BoxCodec()
    (found,) = asked._boxes(codec.encode_objects([((0.0, 0.25, 0.25, 0.75), 'cat')]), wide)
    np.testing.assert_allclose(found[0], (0.0, 0.25, 0.5, 0.75), atol=2e-3)
    assert found[1] == 'cat'
