"""Elements of a pipeline in chunks, and apart again."""

import gc
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from vlm.data.chunks import CHUNK, NO_NUMBER, NO_STRING, apart, filled, in_chunks

MEBIBYTE = 2**20


def rows_of(texts, owners, vectors):
    """The rows of one chunk, with the strings of `vectors` as their images."""

    def chunk(_):
        images = [tf.constant(list(each), tf.string) for each in filled(vectors)]
        rows = {'text': tf.constant(texts, tf.string)}
        return apart(rows, tf.constant(owners, tf.int32), {'images': images}, lambda row: row)

    return tf.data.Dataset.range(1).flat_map(chunk).as_numpy_iterator()


def test_vectors_of_a_chunk_are_always_as_many():
    got = filled([[b'a', b'b'], [], [b'c']])
    assert len(got) == CHUNK and all(each.dtype == object for each in got)
    assert [list(each) for each in got] == [[b'a', b'b'], [], [b'c']] + [[]] * (CHUNK - 3)


def test_a_chunk_is_filled_up_with_what_no_element_holds():
    elements = [([b'a', b''], [0, 1]), ([b'c'], [2, 0, 3])]
    signature = {
        'images': tf.TensorSpec([None], tf.string),
        'ids': tf.TensorSpec([None], tf.int32),
    }
    dataset = tf.data.Dataset.from_generator(
        lambda: ({'images': images, 'ids': ids} for images, ids in elements),
        output_signature=signature,
    )
    (chunk,) = in_chunks(dataset).as_numpy_iterator()
    assert chunk['images'].tolist() == [[b'a', b''], [b'c', NO_STRING]]
    assert chunk['ids'].tolist() == [[0, 1, NO_NUMBER], [2, 0, 3]]


def test_rows_come_in_order_beside_their_own_vectors():
    rows = rows_of(['x', 'y', 'z'], [0, 2, 2], [[b'a', b'b'], [b'unused'], []])
    assert [(r['text'], r['images'].tolist()) for r in rows] == [
        (b'x', [b'a', b'b']), (b'y', []), (b'z', []),
    ]  # fmt: skip
    assert not list(rows_of([], [], [[b'a']]))


def resident() -> int:
    gc.collect()
    return int(Path('/proc/self/statm').read_text().split()[1]) * 4096


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_rows_of_an_image_share_its_bytes_in_a_shuffle_buffer():
    count, large = 64, 4 * MEBIBYTE

    def chunk(_):
        image = tf.repeat(tf.strings.join(['x'] * 16), large // 16)
        files = [tf.strings.reduce_join(image)[None], *[tf.constant([], tf.string)] * (CHUNK - 1)]
        rows = {'text': tf.fill([count], 'y')}
        return apart(rows, tf.zeros([count], tf.int32), {'images': files}, lambda row: row)

    dataset = tf.data.Dataset.range(1).flat_map(chunk).shuffle(count)
    next(dataset.as_numpy_iterator())
    before = resident()
    iterator = iter(dataset)
    assert len(next(iterator)['images'].numpy()[0]) == large
    grown = resident() - before
    assert grown < 8 * large  # 64 images would be 256 MiB
