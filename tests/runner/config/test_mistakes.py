"""Mistakes on the command line and in files: where, what, and the nearest right name."""

from pathlib import Path

import gin
import pytest

from vlm.runner.config import GinFlags, load

from gin_files import HEAD, error_of, load_text, write

FLAG_MISTAKES = [
    ('TRAIN_STEP = 5', ["macro 'TRAIN_STEP'", '--gin.TRAIN_STEP=5', 'Nearest: TRAIN_STEPS']),
    ('MODEL_DIR = demo_run', ['''Write --gin.MODEL_DIR="'demo_run'"''']),
    ('MODEL_DIR = runs/a-1.2', ['''Write --gin.MODEL_DIR="'runs/a-1.2'"''']),
    ('MODEL_DIR = ', ['''Write --gin.MODEL_DIR="''"''']),
    ('MODEL_DIR = [a, b]', ["write 'a'", 'inside those of the shell']),
    ("MODEL_DIR = it's", ['inside those of the shell']),
    ('TRAIN_STEPS = none', ['write --gin.TRAIN_STEPS=None']),
    ('TRAIN_STEPS = 1\nMODEL_DIR = 2', ['one flag gives one value']),
    ('TRAIN-STEPS = 1', ["'TRAIN-STEPS' is neither"]),
    ('tran/toys.Data.batch = 1', ["scope 'tran'", 'Nearest: train']),
    ('toys.Encoder.layer = 1', ["toys.Encoder: 'layer'", 'Nearest: layers']),
    ('Encoder.layer = 1', ["Encoder: 'layer'", 'Nearest: layers']),
    ('toys.Encodr.layers = 1', ["'toys.Encodr'", 'Nearest: toys.Encoder']),
    ('toy.Encoder.layers = 1', ["'toy.Encoder'", "gives 'toy'", 'Nearest: toys.Encoder']),
    ('MODEL_DIR = @toys.Encodr()', ["'toys.Encodr'", 'Nearest: toys.Encoder']),
    ('toys.Encoder.encod.repeats = 1', ['Nearest: toys.Encoder.encode']),
    ('partly.fixed = 1', ["'fixed'", 'denylisted']),
]


@pytest.mark.parametrize(('binding', 'parts'), FLAG_MISTAKES)
def test_mistakes_on_the_command_line(binding, parts):
    text = (
        HEAD + 'MODEL_DIR = 0\nTRAIN_STEPS = 0\ntrain/toys.Data.batch = 1\ntoys.Encoder.width=1\n'
    )
    message = error_of(load_text, text, binding)
    assert all(part in message for part in parts), message
    assert gin.config_str() == '', 'a failed load leaves nothing behind'


FILE_MISTAKES = [
    ('toys.Encoder.layer = 1\n', ["toys.Encoder: 'layer'", 'a.gin:3', 'Nearest: layers']),
    ('toys.Encoder:\n  width = 1\n\n  layer = 1\n', ["'layer'", 'a.gin:6', 'Nearest: layers']),
    ('toys.Encodr:\n  width = 1\n', ["'toys.Encodr'", 'a.gin:3', 'Nearest: toys.Encoder']),
    ('shape.draw.side = 1\n', ["'shape.draw'", "no import there gives 'shape'"]),
    ('toys.train.model = @toys.Encodr()\n', ["'toys.Encodr'", 'Nearest: toys.Encoder']),
    ('toys.x = 1\n', ["configurable 'toys'"]),
    ('toys.LIMIT.x = 1\n', ["configurable 'toys.LIMIT'"]),
    ('A = 1\nMODEL_DIR = demo_run\n', ["a.gin:4: demo_run is no value; write 'demo_run'"]),
    ('A = true\n', ['a.gin:3: true is no value; write True']),
    ('A = "x\n', ['a.gin:3: Unable to parse value: A = "x']),
    ('A 1\n', ['a.gin:3:', ': A 1']),
    ('A = 1\nB = [1,\n\n', ['a.gin:3: a bracket']),
    ('A = {[1]: 2}\n', ['a.gin:2: unhashable']),
    ('toys.train:\n  steps = 1\n model = 2\n', ['a.gin:5:', ': model = 2']),
    ('A = ' + '[' * 9999, ['a.gin:', 'recursion']),
    ('import no_such_module\n', ["module 'no_such_module'", 'a.gin:3']),
    ('import toyz\n', ["module 'toyz'", 'Nearest: toys']),
    ('from left import shapes\n', ["module 'left.shapes'", 'Nearest: left.shape']),
    ('from left import top\n', ['a.gin:3: left.top is no module', 'write left.top']),
    ('from left.shape import draw\n', ['Import left.shape and write shape.draw']),
    ('import needy\n', ['a.gin:3: importing needy', 'no_such_dependency', 'needy.py:1']),
    ('import broken\n', ['a.gin:3: importing broken', 'NameError', 'broken.py:2']),
    ('import unparsed\n', ['a.gin:3: importing unparsed', 'SyntaxError', 'unparsed.py, line 2']),
    ('from __gin__ import dynamic_registration\n', ['a.gin:3:', 'before any other']),
    ("include 'b.gin'\n", ["gin file 'b.gin'", 'a.gin:3', 'Nearest: a.gin']),
    ("include 'a.gin'\n", ['a.gin includes itself']),
]


@pytest.mark.parametrize(('text', 'parts'), FILE_MISTAKES)
def test_mistakes_in_files(text, parts):
    message = error_of(load_text, HEAD + text)
    assert all(part in message for part in parts), message


def test_a_file_without_dynamic_registration_says_so():
    message = error_of(load_text, 'import left.shape\nleft.shape.drawing.side = 1\n')
    assert 'a.gin:2' in message
    assert 'from __gin__ import dynamic_registration' in message


def test_missing_gin_files_name_the_nearest_ones(place):
    write(place / 'package' / 'models' / 'vit_b16.gin', '')
    write('demo.gin', '')
    message = error_of(load, GinFlags(['dmeo.gin'], [], []))
    assert "'dmeo.gin'" in message
    assert 'Nearest: demo.gin' in message
    assert 'Nearest: models/vit_b16.gin' in error_of(load, GinFlags(['vit_b.gin'], [], []))
    assert 'Nearest: demo.gin' in error_of(load, GinFlags([str(Path('emo.gin').resolve())], [], []))


def test_a_folder_or_bytes_in_place_of_a_gin_file():
    Path('folder').mkdir()
    assert 'is a folder' in error_of(load, GinFlags(['folder'], [], []))
    Path('image.gin').write_bytes(b'\x89PNG\r\n\xff')
    assert 'image.gin' in error_of(load, GinFlags(['image.gin'], [], []))
    assert "no folder 'nowhere'" in error_of(load, GinFlags([], ['nowhere'], []))


def test_a_macro_without_any_gin_file_says_that_there_is_none():
    assert 'no --gin_file is given' in error_of(load, GinFlags([], [], ['A = 1']))
