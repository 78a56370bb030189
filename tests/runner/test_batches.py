"""A position in the data: exact where it can be, by examples seen where not."""

import json

import pytest
import tensorflow as tf

from vlm.runner.batches import Batches


def numbers(skipped, count=50):
    dataset = tf.data.Dataset.range(count).shuffle(9, seed=4).repeat().skip(skipped)
    return dataset.map(lambda i: {'number': i}).batch(4).prefetch(2)


def generated(skipped):
    def endless():
        yield from range(1000)

    dataset = tf.data.Dataset.from_generator(endless, output_signature=tf.TensorSpec((), tf.int64))
    return dataset.skip(skipped).map(lambda i: {'number': i}).batch(4)


def take(batches, count):
    return [next(batches)['number'].tolist() for _ in range(count)]


def make(dataset=numbers, identity='a'):
    return Batches(dataset, batch_size=4, identity=identity)


@pytest.mark.parametrize('taken_early', [0, 1])
def test_a_restored_position_is_exact_and_skips_nothing(taken_early, tmp_path):
    skips = []

    def counted(skipped):
        skips.append(skipped)
        return numbers(skipped)

    whole = take(make(), 20)
    first = make()
    take(first, 13 + taken_early)
    first.save(tmp_path, step=13)
    again = make(counted)
    assert again.restore(tmp_path, 13) == ''
    assert take(again, 7) == whole[13:]
    assert skips == [0]
    later = tmp_path / 'later'
    later.mkdir()
    again.save(later, step=20)  # a restored position can be saved again
    third = make()
    third.restore(later, 20)
    assert take(third, 2) == take(again, 2)


def test_other_data_go_on_by_the_examples_seen(tmp_path):
    first = make()
    take(first, 3)
    first.save(tmp_path, step=3)
    again = make(identity='b')
    assert again.restore(tmp_path, 3) == (
        'not the same as before: data; the first 12 examples are passed over instead'
    )
    assert take(again, 2) == take(make(), 5)[3:]


def test_another_number_of_processes_goes_on_by_the_examples_seen(tmp_path):
    first = make()
    take(first, 6)
    first.save(tmp_path, step=6)
    # As if two processes, of which this was the first, had seen 24 examples each.
    path = tmp_path / 'process_0.json'
    saved = json.loads(path.read_text())
    saved['identity']['process'], saved['examples'] = [0, 2], 48
    path.write_text(json.dumps(saved))
    again = make()
    assert 'process; the first 48 examples' in again.restore(tmp_path, 6)
    assert take(again, 1) == take(make(), 13)[12:]


def test_a_source_that_cannot_be_saved_is_counted(tmp_path):
    first = make(generated)
    take(first, 3)
    first.save(tmp_path, step=2)
    again = make(generated)
    assert 'could not tell their position; the first 8 examples' in again.restore(tmp_path, 2)
    assert take(again, 1) == [[8, 9, 10, 11]]
