"""An empty folder to load gin files in, and modules that they may import."""

import sys

import gin
import pytest

from vlm.runner import config

from gin_files import TOYS


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
