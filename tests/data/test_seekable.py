"""Python's elements as a pipeline that can be saved anywhere and restored."""

import pytest
import tensorflow as tf

from vlm.data.sources.seekable import Kept, seekable_dataset

SPEC = {'id': tf.TensorSpec((), tf.string), 'images': tf.TensorSpec((None,), tf.string)}


def elements_from(first, made=None):
    for i in range(first, first + 5):
        if made is not None:
            made.append(i)
        yield {'id': str(i).encode(), 'images': [b'x'] * (i % 3)}


def ids(dataset):
    return [int(element['id']) for element in dataset.as_numpy_iterator()]


def files_in_turns(made=None):
    """Three files of five elements, two open at a time, shuffled, for ever."""

    def read(first):
        return seekable_dataset(lambda n: elements_from(int(n), made), (first,), SPEC)

    files = tf.data.Dataset.from_tensor_slices([0, 10, 20])
    return files.interleave(read, 2, 2).shuffle(4, seed=1).repeat()


def test_elements_come_in_order_with_all_their_fields():
    dataset = seekable_dataset(lambda: elements_from(3), (), SPEC)
    found = list(dataset.as_numpy_iterator())
    assert [(e['id'], len(e['images'])) for e in found] == [
        (b'3', 0), (b'4', 1), (b'5', 2), (b'6', 0), (b'7', 1),
    ]  # fmt: skip
    assert ids(dataset.repeat(2)) == [3, 4, 5, 6, 7] * 2


def test_two_iterators_of_one_data_set_do_not_disturb_each_other():
    dataset = seekable_dataset(lambda: elements_from(0), (), SPEC)
    pairs = zip(dataset.as_numpy_iterator(), dataset.as_numpy_iterator(), strict=True)
    assert [(int(a['id']), int(b['id'])) for a, b in pairs] == [(i, i) for i in range(5)]


@pytest.mark.parametrize('taken', [0, 7, 22])
def test_a_restored_position_goes_on_as_if_nothing_had_happened(taken, tmp_path):
    def iterator_of(dataset):
        options = tf.data.Options()
        options.experimental_external_state_policy = tf.data.experimental.ExternalStatePolicy.IGNORE
        return iter(dataset.with_options(options))

    def take(iterator, count):
        return [int(next(iterator)['id'].numpy()) for _ in range(count)]

    first = iterator_of(files_in_turns())
    take(first, taken)
    path = tf.train.Checkpoint(iterator=first).write(str(tmp_path / 'at'))
    made = []
    again = iterator_of(files_in_turns(made))
    tf.train.Checkpoint(iterator=again).read(path).assert_consumed()
    assert take(again, 20) == take(first, 20)
    # 20 taken, 4 in the shuffle buffer, at most 4 passed over in each of two open files.
    assert len(made) <= 20 + 4 + 2 * 4


def test_kept_elements_are_made_once():
    made = []
    kept = Kept(lambda: elements_from(0, made))
    assert ids(seekable_dataset(kept, (), SPEC).repeat(3)) == [*range(5)] * 3
    assert made == [*range(5)]
