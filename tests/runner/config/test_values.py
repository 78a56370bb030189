"""Values that must be given, reading values, and writing them down."""

import os
import subprocess
import sys
from pathlib import Path

import gin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vlm
from vlm.runner import config
from vlm.runner.config import GinFlags, load, macro, split_gin_flags

from gin_files import HEAD, call, error_of, load_text, write

REQUIRED = HEAD + (
    'MODEL_DIR = %gin.REQUIRED\n'
    'TRAIN_STEPS = %gin.REQUIRED\n'
    'toys.train.model_dir = %MODEL_DIR\n'
)  # fmt: skip


def test_a_required_macro_names_itself_its_file_and_the_flag():
    message = error_of(load_text, REQUIRED)
    assert 'MODEL_DIR (a.gin:3 asks for it)' in message
    assert '''--gin.MODEL_DIR="'...'"''' in message
    assert 'TRAIN_STEPS' not in message, 'nothing uses it'


def test_needed_macros_must_have_a_value_and_others_need_not():
    message = error_of(load_text, REQUIRED, "MODEL_DIR = 'x'", needed=['TRAIN_STEPS', 'SEED'])
    assert 'TRAIN_STEPS (a.gin:4 asks for it), SEED (this command asks for it)' in message
    assert '--gin.TRAIN_STEPS=... --gin.SEED=...' in message
    load_text(REQUIRED, "MODEL_DIR = 'x'", 'SEED = 3', optional=['SEED'])
    assert (macro('SEED'), macro('TRAIN_STEPS', None)) == (3, None)
    assert '--gin.TRAIN_STEPS=...' in error_of(macro, 'TRAIN_STEPS')
    assert 'TRAIN_STEPS' not in config.config_str()


@pytest.mark.parametrize(
    ('text', 'asked'),
    [
        ('toys.train.steps = %A\nA = %B\nB = %gin.REQUIRED\n', 'B (a.gin:5'),
        ('toys.train.steps = [1, {2: %A}]\nA = %gin.REQUIRED\n', 'A (a.gin:4'),
        ('toys.train.steps = %gin.REQUIRED\n', 'toys.train.steps (a.gin:3'),
        ('t/toys.train.steps = (%gin.REQUIRED,)\n', 't/toys.train.steps (a.gin:3'),
        ('toys.train.steps = %TRAIN_STEP\nTRAIN_STEPS = 1\n', 'nearest with a value: TRAIN_STEPS'),
        ('toys.train.model = %MODEL\n', 'MODEL (a.gin:3 asks for it)'),
        ('toys.train.model = %A\nA = [%B]\nB = %A\n', 'a.gin:4: the macro A refers to itself'),
    ],
)
def test_values_are_asked_for_through_macros_and_containers(text, asked):
    assert asked in error_of(load_text, HEAD + text)


def test_an_unused_chain_to_a_required_macro_is_no_mistake():
    load_text(HEAD + 'A = %B\nB = %gin.REQUIRED\nC = %NOWHERE\nD = 1\n')
    assert (macro('A', None), macro('C', None), macro('D')) == (None, None, 1)


def test_what_only_a_command_line_macro_refers_to_is_known():
    load_text('A = 0\nB = [%A]\n', 'NEW = 4', 'A = %NEW')
    assert macro('B') == [4]


def test_macros_that_nothing_uses_are_listed():
    text = 'TRAIN_STEPS = 1\nTRAIN_STEP = 5\nSEED = 1\ntoys.train.steps = %TRAIN_STEPS\n'
    loaded = load_text(HEAD + text, needed=['SEED'])
    assert loaded.unused == {'TRAIN_STEP': 'a.gin:4'}


def test_macro_evaluates_references_and_load_locks():
    import toys

    load_text(HEAD + "MODEL = @toys.Encoder()\nNAME = 'n'\nCOPY = %NAME\ntoys.Encoder.width = 5\n")
    assert isinstance(macro('MODEL'), toys.Encoder)
    assert (macro('MODEL').width, macro('COPY')) == (5, 'n')
    with pytest.raises(RuntimeError, match='locked'):
        gin.bind_parameter('NAME/gin.macro.value', 1)


ROUND_TRIP = (
    HEAD + 'from left import shape\n'
    "LONG = '" + 'many words ' * 20 + "'\n"
    "LENGTHS = {'targets': 64, 'images': 1, 'inputs': (32,)}\n"
    'MODEL = @big/toys.Encoder()\n'
    'SHARED = @one/gin.singleton()\n'
    'one/gin.singleton.constructor = @toys.Data\n'
    'big/toys.Encoder.width = 99\n'
    'toys.Encoder.encode.repeats = 2\n'
    'toys.train.model = %MODEL\n'
    'toys.train.data = [%SHARED, %SHARED]\n'
    'toys.train.steps = %LENGTHS\n'
    'toys.train.model_dir = %LONG\n'
    'toys.decorated.second = @shape.draw\n'
    'eval/toys.Data.batch = -1\n'
)
PROBE = """
import sys
import toys
from vlm.runner import config
config.load(config.GinFlags([sys.argv[1]], [], []))
model, model_dir, steps, (one, other) = config.gin.get_configurable(toys.train)()
print(repr((model.encode(), model_dir, steps, one is other, toys.decorated()[1]())))
"""


@pytest.mark.parametrize('text_of', [config.config_str, config.operative_config])
def test_written_configuration_loads_alone_in_a_fresh_process(modules, place, text_of):
    import toys

    write(
        'b.gin', 'from __gin__ import dynamic_registration\nfrom right import shape\nS=@shape.draw'
    )
    write('all.gin', "include 'a.gin'\ninclude 'b.gin'\n")
    write('a.gin', ROUND_TRIP)
    load(GinFlags(['all.gin'], [], ['toys.train.steps = 7', 'big/Encoder.width = 3']))
    call(toys.train)[0].encode()
    toys.decorated()[1]()
    write('run/config.gin', text_of())
    env = os.environ | {'PYTHONPATH': f'{modules}{os.pathsep}{Path(vlm.__file__).parents[1]}'}
    out = subprocess.run(
        [sys.executable, '-c', PROBE, 'run/config.gin'],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    expected = ([3, 3], 'many words ' * 20, 7, True, ('left', 1))
    assert out.stdout.strip() == repr(expected)


def test_the_operative_configuration_forgets_what_was_not_called():
    import toys

    load_text(HEAD + 'toys.Encoder.width = 5\ntoys.Data.batch = 6\n')
    call(toys.Data)
    assert 'Encoder' not in config.operative_config()
    assert 'toys.Encoder.width = 5' in config.config_str()


LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=120),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner) | st.tuples(inner, inner)
    | st.dictionaries(st.text(max_size=9) | st.integers(), inner, max_size=4),
    max_leaves=9,
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(LITERALS)
def test_any_literal_survives_the_flag_and_the_written_configuration(value):
    flags, rest = split_gin_flags([f'--gin.A={value!r}'])
    load(flags, optional=['A'])
    assert (macro('A'), rest) == (value, [])
    write('again.gin', config.config_str())
    load(GinFlags(['again.gin'], [], []))
    assert macro('A') == value
