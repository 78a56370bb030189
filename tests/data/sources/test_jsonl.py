"""JSON lines: images by path and inline, and every way in which a row can be bad."""

import base64
import os

import pytest

from vlm.data.image_files import ImageError, decode_image
from vlm.data.sources import Jsonl
from vlm.data.sources.jsonl import encode_inline
from vlm.errors import UserError


def jsonl(name: str = 'd.jsonl', **options) -> Jsonl:
    return Jsonl({'train': name}, **options)


def reason(image: bytes) -> str:
    with pytest.raises(ImageError) as error:
        decode_image(image)
    return str(error.value)


def test_an_image_by_path_and_the_rows_own_fields(write_lines, read, png):
    write_lines('d.jsonl', [{'id': 7, 'image': 'a.png', 'caption': 'Größe 👍🏽'}])
    (record,) = read(jsonl())
    assert record == {'id': '7', 'images': [png], 'caption': 'Größe 👍🏽'}


def test_a_row_without_id_is_called_by_file_and_line(write_lines, read, folder):
    (folder / 'sub').mkdir()
    write_lines('sub/d.jsonl', [{'image': '../a.png'}, b'', {'id': None}, {'id': True}, {'id': ''}])
    ids = [record['id'] for record in read(jsonl('sub/d.jsonl'))]
    assert ids == [f'sub/d.jsonl:{line}' for line in (1, 3, 4, 5)]


def test_inline_images(write_lines, read, png):
    text = base64.b64encode(png).decode()
    rows = [
        {'image': f'data:image/png;base64,{text}'},
        {'image': encode_inline(png)},
        {'images': ['a.png', encode_inline(png)]},
    ]
    write_lines('d.jsonl', rows)
    assert [record['images'] for record in read(jsonl())] == [[png], [png], [png, png]]
    write_lines('b.jsonl', [{'image': text}, {'image': text[:-4] + '****'}])
    good, broken = read(jsonl('b.jsonl', inline=True))
    assert good['images'] == [png]
    assert 'not base64' in reason(broken['images'][0])


def test_the_folder_of_images(write_lines, read, folder, png):
    (folder / 'rows').mkdir()
    write_lines('rows/d.jsonl', [{'image': 'a.png'}])
    assert read(jsonl('rows/d.jsonl', image_dir='.'))[0]['images'] == [png]
    assert "'a.png' cannot be read: No such file" in reason(
        read(jsonl('rows/d.jsonl'))[0]['images'][0]
    )


def test_paths_that_leave_the_folder_are_refused(write_lines, read, folder, png):
    inner = folder / 'inner'
    inner.mkdir()
    (inner / 'b.png').write_bytes(png)
    (inner / 'out.png').symlink_to(folder / 'a.png')
    (inner / 'out').symlink_to(folder)
    (inner / 'in.png').symlink_to(inner / 'b.png')
    # A folder whose name begins like the root's is another folder.
    (folder / 'inner2').mkdir()
    (folder / 'inner2' / 'a.png').write_bytes(png)
    outside = ['../a.png', str(folder / 'a.png'), str(inner / 'b.png'), 'out.png', 'out/a.png']
    outside += ['../inner2/a.png', 'x/../../a.png']
    inside = ['b.png', 'x/../b.png', 'in.png', './b.png']
    write_lines('inner/d.jsonl', [{'image': path} for path in [*outside, *inside]])
    images = [record['images'][0] for record in read(jsonl('inner/d.jsonl'))]
    assert all('leaves the folder' in reason(image) for image in images[: len(outside)])
    assert images[len(outside) :] == [png] * len(inside)


def test_images_that_are_no_files_are_told_and_kept(write_lines, read, folder):
    os.mkfifo(folder / 'pipe')
    bad = ['no.png', 'a\x00b', '.', 'pipe', 'x' * 5000, 5, {'a': 1}, None, [], 'a\ud800']
    write_lines('d.jsonl', [{'image': path, 'caption': str(i)} for i, path in enumerate(bad)])
    records = read(jsonl())
    assert [record['caption'] for record in records] == [str(i) for i in range(len(bad))]
    told = [reason(record['images'][0]) for record in records]
    wanted = ['No such file', 'no file name', 'regular', 'regular', 'no file name|too long|cannot']
    wanted += ["'5', neither path", 'neither path', 'no images or image', 'no images or image', '']
    for text, words in zip(told, wanted, strict=True):
        assert any(word in text for word in words.split('|')), (text, words)


def test_bad_rows_are_counted_and_named_and_their_neighbours_stay(write_lines, read, bad):
    rows = [
        {'id': 'first', 'image': 'a.png'},
        b'{"id": "cut", "image": "a.p',
        b'{"id": "caf\xe9"}',
        b'[1]',
        b'[' * 100_000,
        b'{"n": ' + b'9' * 5000 + b'}',
        b'{"id": "nan", "image": "a.png", "n": NaN}',
        b'\r',
        {'id': 'last', 'image': 'a.png'},
    ]
    write_lines('d.jsonl', rows)
    assert [record['id'] for record in read(jsonl())] == ['first', 'nan', 'last']
    assert bad.counts() == {'unreadable_rows': 5}
    named = bad.named('unreadable_rows')  # in any order: several threads parse
    assert sorted(named) == [f'd.jsonl:{line}' for line in range(2, 7)]
    assert 'not UTF-8' in named['d.jsonl:3'] and 'list' in named['d.jsonl:4']
    bad.clear()
    write_lines('e.jsonl', [b'not json', {'id': 'last', 'image': 'a.png'}])
    assert [record['id'] for record in read(jsonl('e.jsonl'))] == ['last']
    assert list(bad.named('unreadable_rows')) == ['e.jsonl:1']


def test_a_line_that_is_too_long_is_passed_over(write_lines, read, bad, monkeypatch):
    monkeypatch.setattr('vlm.data.sources.jsonl.MAX_BYTES', 60)
    long = {'id': 'long', 'x': 'x' * 1000}
    write_lines('d.jsonl', [{'id': 'a'}, long, {'id': 'b'}, {'x': 'y' * 50}, {'x': 'y' * 51}])
    # {"x": "..."} is 9 characters around the text, and the end of the line counts.
    assert [record['id'] for record in read(jsonl())] == ['a', 'b', 'd.jsonl:4']
    assert list(bad.named('unreadable_rows')) == ['d.jsonl:2', 'd.jsonl:5']


def test_a_byte_order_mark_is_no_bad_data(folder, read, bad):
    (folder / 'd.jsonl').write_bytes(b'\xef\xbb\xbf{"id": "a"}\r\n{"id": "b"}')
    assert [record['id'] for record in read(jsonl())] == ['a', 'b']
    assert not bad.counts()


def test_fields_by_other_names(write_lines, read, png):
    row = {'key': 'k', 'file': 'a', 'meta': {'title': 'T'}, 'q': 'Q', 'tags': ['x', 'y']}
    write_lines('d.jsonl', [row])
    fields = {
        'id': 'key',
        'images': '{file}.png',
        'caption': 'meta.title',
        'questions': ['q'],
        'captions': ['tags', 'q'],
        'text': 'a {q} of {meta[title]}',
        'label': 'absent',
        'tags': 'meta.absent',
    }
    (record,) = read(jsonl(fields=fields))
    assert record['id'] == 'k' and record['images'] == [png]
    assert record['caption'] == 'T' and record['questions'] == ['Q']
    assert record['captions'] == ['x', 'y', 'Q'] and record['text'] == 'a Q of T'
    assert 'label' not in record and 'tags' not in record


def test_boxes_in_pixels_are_of_the_rows_size_or_the_images(write_lines, read):
    entry = {'label': 'cat', 'box': [2, 1, 4, 2]}  # xywh: y 1..3, x 2..6
    rows = [
        {'image': 'a.png', 'objects': [entry]},  # 4 high, 8 wide
        {'image': 'no.png', 'objects': [entry], 'height': 10, 'width': 20},
        {'image': 'no.png', 'objects': [entry]},
    ]
    write_lines('d.jsonl', rows)
    first, second, third = (record['objects'] for record in read(jsonl(box_format='xywh pixels')))
    assert first == [{'label': 'cat', 'box': [0.25, 0.25, 0.75, 0.75]}]
    assert second == [{'label': 'cat', 'box': [0.1, 0.1, 0.3, 0.3]}]
    assert 'size is not known' in third[0]['box']


def test_objects_by_other_names_and_as_columns(write_lines, read):
    rows = [
        {'lines': [{'text': 'A', 'at': [0, 0, 500, 1000]}, 'nonsense']},
        {'lines': {'text': ['A', 'B'], 'at': [[0, 0, 500, 1000], [0, 0, 1000, 1000]]}},
    ]
    write_lines('d.jsonl', rows)
    names = {'label': 'text', 'box': 'at'}
    source = jsonl(fields={'objects': 'lines'}, object_fields=names, box_format='xyxy 1000')
    by_row, by_column = (record['objects'] for record in read(source))
    assert (by_row[0]['label'], by_row[0]['box']) == ('A', [0, 0, 1, 0.5])
    assert by_row[1] == 'nonsense'  # a task that needs boxes refuses the record
    assert [entry['box'] for entry in by_column] == [[0, 0, 1, 0.5], [0, 0, 1, 1]]


def test_mistakes_are_told_when_the_source_is_made_or_first_read(folder, read):
    with pytest.raises(UserError, match=r"'xxyy'.*Nearest: xyxy"):
        jsonl(box_format='xxyy pixels')
    with pytest.raises(UserError, match='pixel'):
        jsonl(box_format='xyxy pixel')
    with pytest.raises(UserError, match='template'):
        jsonl(fields={'images': '{file'})
    (folder / 'train.jsonl').touch()
    with pytest.raises(UserError, match=r"'trian.jsonl'.*VLM_DATA_DIR.*Nearest there: train.jsonl"):
        jsonl('trian.jsonl').get_dataset('train')
    with pytest.raises(UserError, match="unknown split 'tain'.*Nearest: train"):
        jsonl('train.jsonl').get_dataset('tain')
