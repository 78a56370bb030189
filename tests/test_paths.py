import os
import subprocess
import sys
from pathlib import Path

import pytest

from vlm import paths
from vlm.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


def python(code: str, cwd: Path, **environment: str) -> str:
    """Runs `code` in a fresh interpreter and returns what it printed."""
    done = subprocess.run(
        [sys.executable, '-c', code],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def place(monkeypatch: pytest.MonkeyPatch, folder: Path, *files: str) -> None:
    """Makes `files` below `folder` and has vlm.paths believe it lies at folder/vlm/paths.py."""
    for name in ('vlm/paths.py', *files):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    monkeypatch.setattr(paths, '__file__', str(folder / 'vlm' / 'paths.py'))


def test_a_checkout_has_them_beside_the_package(monkeypatch, tmp_path):
    place(monkeypatch, tmp_path, 'gin/demo.gin')
    assert paths.gin_dir() == tmp_path / 'gin'


def test_an_installed_package_has_them_inside(monkeypatch, tmp_path):
    place(monkeypatch, tmp_path, 'vlm/gin_files/demo.gin', 'gin/__init__.py')
    assert paths.gin_dir() == tmp_path / 'vlm' / 'gin_files'


def test_gin_configs_own_package_is_not_taken_for_them(monkeypatch, tmp_path):
    place(monkeypatch, tmp_path, 'gin/__init__.py')
    with pytest.raises(UserError, match='no gin files: neither .*gin_files'):
        paths.gin_dir()


def test_every_gin_file_of_the_checkout_is_there():
    def names(folder: Path) -> list[str]:
        return sorted(str(file.relative_to(folder)) for file in folder.rglob('*.gin'))

    assert names(paths.gin_dir()) == names(ROOT / 'gin')


def test_the_gin_folder_never_becomes_a_package():
    assert not list((ROOT / 'gin').rglob('*.py'))


def test_import_gin_in_the_checkout_is_gin_config():
    # An empty PYTHONSAFEPATH puts the working directory first, as for a user's `python` there.
    code = 'import gin; print(gin.__file__, callable(gin.parse_config))'
    file, works = python(code, ROOT, PYTHONSAFEPATH='').rsplit(maxsplit=1)
    assert (Path(file).parent != ROOT / 'gin', works) == (True, 'True')


def test_asking_for_the_folder_loads_nothing_heavy(tmp_path):
    code = 'import sys, vlm.paths; vlm.paths.gin_dir(); print(*sorted(sys.modules))'
    loaded = set(python(code, tmp_path).split())
    assert not loaded & {'flax', 'gin', 'jax', 'numpy', 'seqio', 'tensorflow'}
