"""Damaged and hostile checkpoints end in one line; nothing in them is executed or trusted."""

import json
import pickle
import struct
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save_file

from vlm.errors import UserError
from vlm.weights import open_checkpoint
from vlm.weights.npz_file import open_npz
from vlm.weights.safetensors_files import open_safetensors

TENSORS = {'a': np.arange(6, dtype=np.float32).reshape(2, 3), 'b': np.ones(4, np.float16)}


def told(open_, path) -> str:
    with pytest.raises(UserError) as error:
        open_(path)
    assert '\n' not in str(error.value)
    return str(error.value)


# ---- safetensors ---------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    save_file(TENSORS, tmp_path / 'model.safetensors')
    return tmp_path


def test_a_good_file_gives_its_tensors_as_stored(folder):
    source = open_safetensors(folder)
    assert source.shapes == {'a': (2, 3), 'b': (4,)}
    for name, value in TENSORS.items():
        np.testing.assert_array_equal(source.read(name), value)
        assert source.read(name).dtype == value.dtype


def header_of(content: bytes) -> tuple[dict, bytes]:
    (size,) = struct.unpack('<Q', content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def lying(content: bytes, **fields) -> bytes:
    header, data = header_of(content)
    header['a'].update(fields)
    text = json.dumps(header).encode()
    return struct.pack('<Q', len(text)) + text + data


DAMAGED = {
    'empty': lambda x: b'',
    'cut in the data': lambda x: x[:-5],
    'cut in the header': lambda x: x[:20],
    'a header longer than the file': lambda x: struct.pack('<Q', 1 << 40) + x[8:],
    'a larger shape': lambda x: lying(x, shape=[200, 300]),
    'an offset outside': lambda x: lying(x, data_offsets=[0, 1 << 40]),
    'an unknown type': lambda x: lying(x, dtype='F4096'),
    'no safetensors': lambda x: b'\x80\x04' + x,
}


@pytest.mark.parametrize('name', DAMAGED)
def test_damaged_safetensors(folder, name):
    path = folder / 'model.safetensors'
    path.write_bytes(DAMAGED[name](path.read_bytes()))
    assert 'model.safetensors' in told(open_safetensors, folder)


@pytest.mark.parametrize(
    'name', ['../secret.safetensors', '/etc/passwd', 'sub/x.safetensors', 'x.bin', 7]
)
def test_an_index_that_leaves_its_folder(tmp_path, name):
    save_file(TENSORS, tmp_path / 'secret.safetensors')
    inside = tmp_path / 'model'
    (inside / 'sub').mkdir(parents=True)
    save_file(TENSORS, inside / 'sub' / 'x.safetensors')
    index = {'weight_map': {'a': name}}
    (inside / 'model.safetensors.index.json').write_text(json.dumps(index))
    assert 'no safetensors file beside it' in told(open_safetensors, inside)


@pytest.mark.parametrize('content', ['', '[]', '{"weight_map": []}', '[' * 100_000])
def test_an_index_that_is_none(folder, content):
    (folder / 'model.safetensors.index.json').write_text(content)
    assert 'index.json' in told(open_safetensors, folder)


def test_a_shard_that_is_not_there(folder):
    index = {'weight_map': {'a': 'model-00001-of-00002.safetensors'}}
    (folder / 'model.safetensors.index.json').write_text(json.dumps(index))
    assert 'model-00001-of-00002' in told(open_safetensors, folder)


# ---- folders -------------------------------------------------------------------------------------


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ('a pickle was executed',))


def test_a_pickle_is_refused_unread(tmp_path):
    (tmp_path / 'config.json').write_text('{"model_type": "vit"}')
    (tmp_path / 'pytorch_model.bin').write_bytes(pickle.dumps(Bomb()))
    assert 'a pickle' in told(open_checkpoint, str(tmp_path))


def test_an_unknown_family_names_the_nearest(folder):
    (folder / 'config.json').write_text('{"model_type": "siglp"}')
    assert 'Nearest: siglip' in told(open_checkpoint, str(folder))


@pytest.mark.parametrize(
    'config', ['{"model_type": "t5"}', '{"model_type": "paligemma"}', 'not json']
)
def test_a_configuration_that_is_none(folder, config):
    (folder / 'config.json').write_text(config)
    assert 'config.json' in told(open_checkpoint, str(folder))


def test_nothing_there_names_what_is_near(folder):
    folder.joinpath('siglip_base').mkdir()
    assert 'Nearest there: siglip_base' in told(open_checkpoint, str(folder / 'siglip_bas'))


# ---- npz -----------------------------------------------------------------------------------------


def test_a_good_npz_and_bfloat16(tmp_path):
    import ml_dtypes

    half = np.array([1.5, -2.0], ml_dtypes.bfloat16)
    np.savez_compressed(tmp_path / 'x.npz', **{'params/a': TENSORS['a'], 'b': half.view('V2')})
    source = open_npz(tmp_path / 'x.npz')
    assert source.shapes == {'params/a': (2, 3), 'b': (2,)}
    np.testing.assert_array_equal(source.read('params/a'), TENSORS['a'])
    np.testing.assert_array_equal(source.read('b').astype(np.float32), [1.5, -2.0])


def test_pickled_objects_in_an_npz(tmp_path):
    np.savez(tmp_path / 'x.npz', a=np.array([Bomb()], dtype=object))
    assert 'pickled objects' in told(open_npz, tmp_path / 'x.npz')


def member(shape: str, data: bytes) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + '\n'
    return b'\x93NUMPY\x01\x00' + struct.pack('<H', len(text)) + text.encode() + data


def zipped(path, content: bytes) -> None:
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a.npy', content)


def test_a_zip_bomb_is_never_unpacked(tmp_path, monkeypatch):
    """64 MB of zeros in 64 KB, behind a header of two numbers: no more than a header is read."""
    zipped(tmp_path / 'x.npz', member('(2,)', bytes(64 << 20)))
    assert (tmp_path / 'x.npz').stat().st_size < 1 << 17
    read = []
    plain = zipfile.ZipExtFile.read
    monkeypatch.setattr(
        zipfile.ZipExtFile, 'read', lambda self, n=-1: (read.append(n), plain(self, n))[1]
    )
    assert 'shape (2,)' in told(open_npz, tmp_path / 'x.npz')
    assert read and all(0 < n <= 4096 for n in read)


NPZ = {
    'no zip': b'PK not really',
    'a huge shape': (member('(1000000000, 1000000000)', b'1234')),
    'a negative shape': (member('(-3,)', b'1234')),
    'code for a shape': (member('__import__("os")', b'1234')),
    'no array': b'hello',
    'an empty member': b'',
}


@pytest.mark.parametrize('name', NPZ)
def test_damaged_npz(tmp_path, name):
    path = tmp_path / 'x.npz'
    if name == 'no zip':
        path.write_bytes(NPZ[name])
    else:
        zipped(path, NPZ[name])
    assert 'x.npz' in told(open_npz, path)


def test_an_npz_with_a_flipped_bit_and_one_cut_short(tmp_path):
    path = tmp_path / 'x.npz'
    noise = np.random.default_rng(0).normal(size=10_000).astype(np.float32)
    np.savez(path, a=noise)
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    assert 'a is damaged' in told(lambda path: open_npz(path).read('a'), path)
    path.write_bytes(content[: len(content) // 2])
    assert 'damaged' in told(open_npz, path)
