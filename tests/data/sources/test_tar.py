"""Tar shards: rows of neighbouring members, hostile members, damage."""

import io
import tarfile

import pytest

from vlm.data.image_files import ImageError, decode_image
from vlm.data.sources import WebDataset


@pytest.fixture
def write_tar(folder):
    """`write_tar(name, members)`: members are (name, bytes) or TarInfo."""

    def make(name: str, members: list) -> bytes:
        with tarfile.open(folder / name, 'w') as archive:
            for member in members:
                if isinstance(member, tarfile.TarInfo):
                    archive.addfile(member)
                    continue
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
        return (folder / name).read_bytes()

    return make


def webdataset(**options) -> WebDataset:
    return WebDataset({'train': 'd.tar'}, **options)


def test_neighbours_with_one_stem_are_a_row(write_tar, read, png):
    members = [
        ('s/1.png', png),
        ('s/1.json', b'{"caption": "one", "id": "first"}'),
        ('s/2.0.png', png),
        ('s/2.1.jpeg', b'x'),
        ('s/2.txt', b'zwei'),
        ('t/2.cls', b'3'),
    ]
    write_tar('d.tar', members)
    first, second, third = read(webdataset(fields={'text': 'txt'}))
    assert first == {'id': 'first', 'caption': 'one', 'images': [png]}
    assert second == {'id': 's/2', 'images': [png, b'x'], 'txt': 'zwei', 'text': 'zwei'}
    assert third['id'] == 't/2' and third['cls'] == '3'
    with pytest.raises(ImageError, match='no images'):
        decode_image(third['images'][0])


def test_members_that_lead_elsewhere_are_refused(write_tar, read, png, bad):
    link, hard = tarfile.TarInfo('2.png'), tarfile.TarInfo('3.png')
    link.type, link.linkname = tarfile.SYMTYPE, '/etc/passwd'
    hard.type, hard.linkname = tarfile.LNKTYPE, '1.png'
    text = ('2.txt', b'its reference is known')
    write_tar('d.tar', [('1.png', png), link, text, hard, ('../4.png', png), ('/5.png', png)])
    first, second = read(webdataset())
    assert (first['id'], second['id'], second['txt']) == ('1', '2', 'its reference is known')
    assert bad.counts() == {'unreadable_rows': 4}
    assert set(bad.named('unreadable_rows')) == {
        f'd.tar: {name!r}' for name in ('2.png', '3.png', '../4.png', '/5.png')
    }


def test_bad_members_and_their_neighbours(write_tar, read, png, bad):
    members = [('1.json', b'{'), ('2.txt', b'\xff'), ('3.json', b'[]'), ('4.png', png)]
    write_tar('d.tar', members)
    assert [record['id'] for record in read(webdataset())] == ['4']
    assert set(bad.named('unreadable_rows')) == {'1', '2', '3'}


def test_damage_is_told_and_reading_goes_on_behind_it(write_tar, read, png, bad, folder):
    data = bytearray(write_tar('d.tar', [(f'{i}.png', png) for i in range(4)]))
    block = 512 + -(-len(png) // 512) * 512
    data[block : block + 100] = b'\xaa' * 100  # the header of 1.png
    (folder / 'd.tar').write_bytes(data)
    assert [record['id'] for record in read(webdataset())] == ['0', '2', '3']
    assert bad.counts() == {'unreadable_rows': 1}
    assert f'{block:,} bytes from {block:,} on' in bad.named('unreadable_rows')['d.tar']


@pytest.mark.parametrize('kept', [700, 1024 + 100, 1024 + 512 + 10])
def test_a_shard_that_is_cut_short(write_tar, read, png, bad, folder, kept):
    assert len(png) <= 512
    data = write_tar('d.tar', [('0.txt', b'a' * 300), ('1.txt', b'b' * 300)])
    (folder / 'd.tar').write_bytes(data[:kept])
    found = [record['id'] for record in read(webdataset())]
    assert found in ([], ['0'])
    assert sum(bad.counts().values()) >= 1


def test_what_is_no_archive(folder, read, bad):
    (folder / 'd.tar').write_bytes(b'no archive at all' * 100)
    assert read(webdataset()) == []
    assert list(bad.named('unreadable_rows')) == ['d.tar']
