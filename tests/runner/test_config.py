import os
import subprocess
import sys
from pathlib import Path

import gin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vlm
from vlm.errors import UserError
from vlm.runner import config
from vlm.runner.config import GinFlags, load, macro, split_gin_flags

TOYS = """
import dataclasses
import gin

LIMIT = 3

def train(model=None, model_dir='', steps=0, data=None):
    return model, model_dir, steps, data

class Encoder:
    def __init__(self, width=8, *, layers=2):
        self.width, self.layers = width, layers

    def encode(self, repeats=1):
        return [self.width] * repeats

@dataclasses.dataclass
class Data:
    split: str = 'train'
    batch: int = 8

def anything(**kwargs):
    return kwargs

@gin.configurable
def decorated(first=1, second=2):
    return first, second

@gin.configurable(denylist=['fixed'])
def partly(free=1, fixed=2):
    return free, fixed
"""
HEAD = 'from __gin__ import dynamic_registration\nimport toys\n'


# gin keeps what it has registered for the life of the process, so the modules are made once.
@pytest.fixture(scope='session')
def modules(tmp_path_factory):
    folder = tmp_path_factory.mktemp('modules')
    (folder / 'toys.py').write_text(TOYS)
    for name in ('left', 'right'):
        (folder / name).mkdir()
        (folder / name / '__init__.py').write_text('def top():\n    pass\n')
        (folder / name / 'shape.py').write_text(f'def draw(side=1):\n    return {name!r}, side\n')
    (folder / 'needy.py').write_text('import no_such_dependency\n')
    (folder / 'unparsed.py').write_text('x = 1\ny = (\n')
    (folder / 'broken.py').write_text('x = 1\ny = undefined_name\n')
    return folder


@pytest.fixture(autouse=True)
def place(modules, tmp_path, monkeypatch):
    """Stands in an empty folder, with the modules importable and no gin files but its own."""
    monkeypatch.setattr(sys, 'path', [*sys.path, str(modules)])
    package = tmp_path / 'package'
    work = tmp_path / 'work'
    package.mkdir()
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr(config, 'gin_dir', lambda: package)
    yield tmp_path
    gin.clear_config()


def write(name, text):
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def load_text(text, *bindings, **options):
    write('a.gin', text)
    return load(GinFlags(['a.gin'], [], list(bindings)), **options)


def error_of(function, *args, **kwargs):
    with pytest.raises(UserError) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    assert 1 <= len(message.splitlines()) <= 2, message
    return message


def call(function):
    return gin.get_configurable(function)()


# --- Flags ----------------------------------------------------------------------------------------


def test_flags_are_taken_out_in_both_spellings():
    argv = [
        'train', '--gin_file=a.gin', '--dry_run', '--gin_file', 'b.gin', '--gin_search_paths=x,y',
        '--gin_search_paths', 'z', "--gin.A='k=v w'", '--gin.t/m.F.x=%B', '--gin.N', '-3',
        '--gin_bindings=P=1', '--gin_bindings', 'm.F.q = "r=s"', 'image.png',
    ]  # fmt: skip
    flags, rest = split_gin_flags(argv)
    assert flags.files == ['a.gin', 'b.gin']
    assert flags.search_paths == ['x', 'y', 'z']
    assert flags.bindings == ["A = 'k=v w'", 't/m.F.x = %B', 'N = -3', 'P = 1', 'm.F.q = "r=s"']
    assert rest == ['train', '--dry_run', 'image.png']


def test_arguments_after_two_dashes_are_left_alone():
    assert split_gin_flags(['--gin.A=1', '--', '--gin.B=2', '--gin_x']) == (
        GinFlags([], [], ['A = 1']),
        ['--', '--gin.B=2', '--gin_x'],
    )


@pytest.mark.parametrize(
    ('argv', 'parts'),
    [
        (['--gin_flie=a.gin'], ["'--gin_flie'", 'Nearest: --gin_file']),
        (['--gin-file', 'a.gin'], ["'--gin-file'", 'Nearest: --gin_file']),
        (['--gin_file'], ['--gin_file=VALUE']),
        (['--gin_file='], ["--gin_file='demo.gin'"]),
        (['--gin_file', '--gin.A=1'], ['--gin_file has no value']),
        (['--gin.A', '=', '1'], ['--gin.A=VALUE', 'without spaces']),
        (['--gin_bindings=A'], ["--gin_bindings='NAME=VALUE'"]),
    ],
)
def test_wrong_flags(argv, parts):
    message = error_of(split_gin_flags, argv)
    assert all(part in message for part in parts), message


# --- What wins, and where names come from ---------------------------------------------------------


def test_later_settings_win():
    write('base.gin', 'A = 1\nB = 1\nC = 1\nD = 1\nE = 1\n')
    write('over.gin', "A = 0\ninclude 'base.gin'\nB = 2\nC = 2\nD = 2\n")
    write('last.gin', 'C = 3\nD = 3\n')
    flags = GinFlags(['over.gin', 'last.gin'], [], ['D = 4', 'D = 5', 'E = %D'])
    loaded = load(flags)
    assert [macro(name) for name in 'ABCDE'] == [1, 2, 3, 5, 5]
    assert [path.name for path in loaded.files] == ['over.gin', 'base.gin', 'last.gin']
    assert loaded.macros == {
        'A': 'base.gin:1', 'B': 'over.gin:3', 'C': 'last.gin:1', 'D': '--gin.D=5',
        'E': '--gin.E=%D',
    }  # fmt: skip


def test_default_files_come_first():
    write('base.gin', 'A = 1\nB = 1\n')
    write('own.gin', 'B = 2\n')
    load(GinFlags(['own.gin'], [], []), default_files=['base.gin'])
    assert (macro('A'), macro('B')) == (1, 2)


def test_search_order_is_current_folder_then_search_paths_then_package(place):
    for folder, names in (('.', 'a'), ('given', 'ab'), (place / 'package', 'abc')):
        for name in names:
            write(f'{folder}/{name}.gin', f'{name.upper()} = {str(folder)!r}\n')
    write('all.gin', "include 'a.gin'\ninclude 'b.gin'\ninclude 'c.gin'\n")
    load(GinFlags(['all.gin'], ['given'], []))
    assert (macro('A'), macro('B'), macro('C')) == ('.', 'given', str(place / 'package'))


def test_an_absolute_path_and_a_byte_order_mark_are_read(place):
    path = place / 'far.gin'
    path.write_bytes(b'\xef\xbb\xbfA = 7\r\n')
    load(GinFlags([str(path)], [], []))
    assert macro('A') == 7


def test_scopes_and_plain_callables_without_decorators():
    import toys

    load_text(
        HEAD + 'BATCH = 4\n'
        'toys.train.data = @eval/toys.Data()\n'
        'toys.train.model = @toys.Encoder()\n'
        'toys.Encoder.layers = 6\n'
        'toys.Data.batch = %BATCH\n'
        "train/toys.Data.split = 'first'\n"
        "eval/toys.Data.split = 'second'\n",
        'eval/toys.Data.batch = 5',
    )
    model, _, _, data = call(toys.train)
    assert (data, type(model), model.layers) == (toys.Data('second', 5), toys.Encoder, 6)
    with gin.config_scope('train'):
        assert call(toys.Data) == toys.Data('first', 4)
    assert toys.Data() == toys.Data('train', 8), 'a direct call of a plain class takes no binding'


def test_decorated_configurables_take_bindings_in_direct_calls():
    import toys

    load_text(HEAD + 'toys.decorated.first = 5\n', 'decorated.second = 6')
    assert toys.decorated() == (5, 6)


def test_the_command_line_sees_the_imports_of_all_files():
    import toys

    load_text(
        HEAD + 'MODEL = None\ntoys.train.model = %MODEL\n',
        'MODEL = @big/toys.Encoder()',
        'big/toys.Encoder.width = 3',
        'toys.Encoder.encode.repeats = 2',
    )
    model = call(toys.train)[0]
    assert model.encode() == [3, 3]


def test_a_macro_is_a_scope_of_its_own_and_replaces_the_one_around_it():
    import toys

    load_text(
        HEAD + 'DATA = @toys.Data()\n'
        'train/toys.train.data = [@toys.Data(), %DATA]\n'
        'train/toys.Data.batch = 1\n',
        'DATA/toys.Data.batch = 2',
    )
    with gin.config_scope('train'):
        assert [data.batch for data in call(toys.train)[3]] == [1, 2]


def test_macros_may_have_scopes_too():
    load_text('big/SIZE = 1\nA = %big/SIZE\n', 'big/SIZE = 2')
    assert macro('A') == 2
    assert "macro 'SIZE'" in error_of(load_text, 'big/SIZE = 1\n', 'SIZE = 2')


def test_short_names_on_the_command_line_as_in_t5x():
    import toys

    load_text(HEAD + 'train/toys.Data.batch = 1\n', 'train/Data.batch = 2', 'Data.split = "s"')
    with gin.config_scope('train'):
        assert call(toys.Data) == toys.Data('s', 2)


def test_the_same_module_under_two_names():
    import toys

    write('b.gin', 'from __gin__ import dynamic_registration\nimport toys as t\nt.Data.batch = 2\n')
    load_text(HEAD + "include 'b.gin'\ntoys.train.data = @toys.Data()\n", "t.Data.split = 'x'")
    assert call(toys.train)[3] == toys.Data('x', 2)


def test_two_modules_under_one_name_must_be_told_apart():
    head = 'from __gin__ import dynamic_registration\n'
    write('b.gin', head + 'from right import shape\nshape.draw.side = 2\n')
    text = head + "include 'b.gin'\nfrom left import shape\nshape.draw.side = 3\n"
    assert 'left.shape.draw' in error_of(load_text, text, 'shape.draw.side = 4')
    load_text(text, 'right.shape.draw.side = 4')
    from left import shape as left
    from right import shape as right

    assert (call(left.draw), call(right.draw)) == (('left', 3), ('right', 4))


def test_values_hold_macros_at_any_depth():
    load_text("A = 'key'\nB = [%A, {%A: (%A, 1)}]\n")
    assert macro('B') == ['key', {'key': ('key', 1)}]


# --- Mistakes -------------------------------------------------------------------------------------

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


# --- Values that must be given --------------------------------------------------------------------

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


# --- Reading values, writing them down ------------------------------------------------------------


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


# --- Modules --------------------------------------------------------------------------------------


def module_flag(value):
    return GinFlags([], [], [f'MIXTURE_OR_TASK_MODULE = {value}'])


def test_task_modules_are_imported_from_the_current_folder():
    write('my_tasks.py', 'import gin\n\n@gin.configurable\ndef late(x=1):\n    pass\n')
    write('my_pack/__init__.py', '')
    write('my_pack/more.py', '')
    assert config.import_modules(load(module_flag("'my_tasks'"))) == ['my_tasks']
    loaded = load(module_flag("['my_tasks', 'my_pack.more']"))
    assert config.import_modules(loaded) == ['my_tasks', 'my_pack.more']
    assert {'my_tasks', 'my_pack.more'} <= sys.modules.keys()
    assert gin.config.config_is_locked()


@pytest.mark.parametrize('value', ['None', "''", '[]'])
def test_no_task_module_is_no_mistake(value):
    assert config.import_modules(load(module_flag(value))) == []
    assert config.import_modules(load(GinFlags())) == []


@pytest.mark.parametrize(
    ('value', 'parts'),
    [
        ("'toyz'", ["module 'toyz'", "--gin.MIXTURE_OR_TASK_MODULE='toyz'", 'Nearest: toys']),
        ("'toys.py'", ["module 'toys.py'", 'Nearest: toys']),
        ("'left.shap'", ['Nearest: left.shape']),
        ("'broken'", ['NameError', 'broken.py:2']),
        ("''", None),
        ('5', ['5 is neither']),
        ('[5]', ['[5] is neither']),
    ],
)
def test_wrong_task_modules(value, parts):
    loaded = load(module_flag(value))
    if parts is None:
        assert config.import_modules(loaded) == []
        return
    message = error_of(config.import_modules, loaded)
    assert all(part in message for part in parts), message


def test_importing_this_module_loads_neither_jax_nor_tensorflow():
    code = (
        'import sys, vlm.runner.config\n'
        'print([m for m in ("jax", "tensorflow", "seqio", "flax", "numpy") if m in sys.modules])'
    )
    env = os.environ | {'PYTHONPATH': str(Path(vlm.__file__).parents[1])}
    out = subprocess.run(
        [sys.executable, '-c', code], env=env, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == '[]'
