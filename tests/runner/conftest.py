"""A trained run in miniature, shared by the runner's tests."""

import sys
from pathlib import Path

import pytest
import tensorflow_first  # noqa: F401

HERE = Path(__file__).parent

TINY = """
from __gin__ import dynamic_registration

from vlm.nn import t5
from vlm.nn import vit
from vlm.runner import optimizers

include 'runs/train.gin'
include 'models/base.gin'
include 'optimizers/adamw.gin'

MIXTURE_OR_TASK_MODULE = 'shapes_task'
MIXTURE_OR_TASK_NAME = 'squares'
TASK_FEATURE_LENGTHS = {'images': 1, 'inputs': 16, 'targets': 8}
IMAGE_SIZE = (16, 16)
PATCH_SIZE = 8
TRAIN_STEPS = 60
BATCH_SIZE = 8
LOG_PERIOD = 5
LEARNING_RATE = 1e-2
WARMUP_STEPS = 5
# The same for shorter runs, so that their step is the same program, compiled once.
optimizers.warmup_cosine.total_steps = 60
EVAL_SPLIT = 'test'
EVAL_BATCH_SIZE = 4

vit.VitConfig:
  width = 16
  num_layers = 1
  num_heads = 2
  mlp_dim = 32

t5.TextConfig:
  width = 16
  num_layers = 1
  num_heads = 2
  head_dim = 8
  mlp_dim = 32
"""


@pytest.fixture(scope='session')
def tiny_gin(tmp_path_factory) -> Path:
    """The gin file of a model that learns its task in seconds."""
    sys.path.append(str(HERE))  # where shapes_task.py is
    path = tmp_path_factory.mktemp('gin') / 'tiny.gin'
    path.write_text(TINY)
    return path


@pytest.fixture(scope='session')
def vlm(tiny_gin):
    """`vlm('train', ...)`: the command line in this process; returns its exit status."""
    from vlm.cli import main
    from vlm.data.bad_data import bad_data

    def run(
        *arguments: str, run_dir: Path | None = None, evaluated: bool = True, **macros: object
    ) -> int:
        bad_data.clear()  # a command is a process of its own
        if not evaluated:
            macros['train.Trainer.evaluation'] = None
        flags = [f'--gin.{name}={value!r}' for name, value in macros.items()]
        if arguments[0] == 'train':
            flags += [f'--gin_file={tiny_gin}', f'--gin.MODEL_DIR={str(run_dir)!r}']
        return main([*arguments, *flags])

    return run


@pytest.fixture(scope='session')
def trained(vlm, tmp_path_factory) -> Path:
    """A finished run directory; tests read it and write nothing there."""
    path = tmp_path_factory.mktemp('runs') / 'squares_run'
    assert vlm('train', run_dir=path) == 0
    return path


@pytest.fixture(scope='session')
def begun(vlm, tmp_path_factory) -> Path:
    """A run that ended after four steps; tests read it, and go on in a copy."""
    path = tmp_path_factory.mktemp('runs') / 'begun'
    assert vlm('train', run_dir=path, TRAIN_STEPS=4, evaluated=False) == 0
    return path
