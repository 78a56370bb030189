"""TFRecord: read as TensorFlow wrote it, and beyond what is damaged."""

import pytest
import tensorflow as tf

from vlm.data.sources import TFRecord
from vlm.data.sources.tfrecord import masked_crc32c


def feature(*values) -> tf.train.Feature:
    if isinstance(values[0], int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    if isinstance(values[0], float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


@pytest.fixture
def write(folder):
    def make(*rows: dict) -> bytes:
        path = folder / 'd.tfrecord'
        with tf.io.TFRecordWriter(str(path)) as writer:
            for row in rows:
                features = {k: feature(*v) for k, v in row.items()}
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())
        return path.read_bytes()

    return make


def tfrecord(**options) -> TFRecord:
    return TFRecord({'train': '*.tfrecord'}, **options)


def test_features_are_fields(write, read, png):
    row = {
        'id': [5],
        'image': [png],
        'captions': [b'a', b'\xc3\xa9'],
        'x': [0.5],
        'mask': [b'\xff'],
    }
    write(row, {'image/encoded': [png], 'caption': [b'one']})
    first, second = read(tfrecord(fields={'captions': ['captions'], 'caption': ['caption']}))
    assert first == {'id': '5', 'images': [png], 'captions': ['a', 'é'], 'x': 0.5}
    assert second['id'] == 'd.tfrecord:2' and second['images'] == [png]
    assert second['caption'] == ['one']


def test_the_checksum_is_crc_32c():
    # RFC 3720, B.4: the CRC-32C of 32 zero bytes is 0x8a9136aa; TFRecord turns it and adds.
    crc = 0x8A9136AA
    assert masked_crc32c(bytes(32)) == ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def test_damaged_records_are_named_and_the_others_read(write, folder, read, bad):
    good = write(*({'id': [i], 'text': [b'some text %d' % i]} for i in range(4)))
    size = len(good) // 4
    data = bytearray(good)
    data[size + 12] = 0xFF  # the first byte of the second record's data
    (folder / 'd.tfrecord').write_bytes(data)
    assert [record['id'] for record in read(tfrecord())] == ['0', '2', '3']
    assert bad.named('unreadable_rows') == {'d.tfrecord:2': 'not a tf.train.Example'}
    bad.clear()
    data[2 * size] ^= 1  # the length of the third: where the fourth begins is lost
    (folder / 'd.tfrecord').write_bytes(data)
    assert [record['id'] for record in read(tfrecord())] == ['0']
    assert f'{2 * size:,} bytes are not read' in bad.named('unreadable_rows')['d.tfrecord']
    bad.clear()
    for kept in (size + 5, size + 20):  # within the header, within the data
        (folder / 'd.tfrecord').write_bytes(good[:kept])
        assert [record['id'] for record in read(tfrecord())] == ['0']
    assert bad.counts() == {'unreadable_rows': 2}
