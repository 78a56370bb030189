"""Modules of tasks that a configuration names; what the configuration itself imports."""

import os
import subprocess
import sys
from pathlib import Path

import gin
import pytest

import vlm
from vlm.runner import config
from vlm.runner.config import GinFlags, load

from gin_files import error_of, write


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
