"""From a name to a folder: what is said where there is nothing to read."""

import json
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from vlm.errors import UserError
from vlm.weights import open_checkpoint

NAME = 'somebody/a-tower'


def test_a_hub_name_without_the_package_says_what_to_place_where(monkeypatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(UserError, match=r'vlm\[hub\].*config\.json and \*\.safetensors in'):
        open_checkpoint(NAME)


def test_a_hub_that_cannot_be_reached(monkeypatch):
    hub = pytest.importorskip('huggingface_hub', reason='needs the extra hub')

    def unreachable(*args, **options):
        raise hub.errors.LocalEntryNotFoundError('no connection')

    monkeypatch.setattr(hub, 'snapshot_download', unreachable)
    with pytest.raises(UserError, match='no connection.*the folder somebody/a-tower'):
        open_checkpoint(NAME)


def test_what_the_hub_gives_is_read(monkeypatch, tmp_path):
    hub = pytest.importorskip('huggingface_hub', reason='needs the extra hub')
    asked = []

    def download(name, allow_patterns):
        asked.append((name, allow_patterns))
        return str(tmp_path)

    (tmp_path / 'config.json').write_text(json.dumps({'model_type': 'siglip_vision_model'}))
    save_file({'head.probe': np.zeros(3, np.float32)}, tmp_path / 'model.safetensors')
    monkeypatch.setattr(hub, 'snapshot_download', download)
    source, family = open_checkpoint(NAME)
    assert family.title == 'Hugging Face SigLIP' and set(source.shapes) == {'head.probe'}
    ((name, patterns),) = asked
    # No pickle is even downloaded.
    assert name == NAME and not any('bin' in pattern for pattern in patterns)


def test_a_folder_of_nothing(tmp_path):
    with pytest.raises(UserError, match=r'neither .*config\.json'):
        open_checkpoint(str(tmp_path))
