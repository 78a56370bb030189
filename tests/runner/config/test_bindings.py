"""Flags, what wins, and where names come from."""

import gin
import pytest

from vlm.runner.config import GinFlags, load, macro, split_gin_flags

from gin_files import HEAD, call, error_of, load_text, write


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
