"""Gin files over a module of toys, and what loading them says."""

from pathlib import Path

import gin
import pytest

from vlm.errors import UserError
from vlm.runner.config import GinFlags, load

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
