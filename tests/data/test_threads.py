"""How many threads pipelines have."""

import os

import pytest
import tensorflow as tf

from vlm.data import threads
from vlm.data.sources import RecordSource


@pytest.fixture
def threads_of_a_pipeline(monkeypatch):
    """Counts them on a machine of so many cores; None for as many as TensorFlow likes."""
    monkeypatch.setattr(threads, '_fewer', 0)

    def count(cores: int = 0) -> int | None:
        monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: set(range(cores)), raising=False)
        if cores:
            threads.leave_cores_to_steps()
        source = RecordSource(lambda split: [{'id': 'a', 'images': []}], {'train': 1})
        data = source.get_dataset().map(lambda element: element).batch(1)
        assert [row['id'].tolist() for row in data.as_numpy_iterator()] == [[b'a']]
        return data.options().threading.private_threadpool_size

    return count


def test_as_many_as_tensorflow_likes(threads_of_a_pipeline):
    assert threads_of_a_pipeline() is None


@pytest.mark.parametrize(('cores', 'expected'), [(1, 1), (2, 1), (8, 2), (64, 16)])
def test_a_quarter_of_the_cores_beside_steps(threads_of_a_pipeline, cores, expected):
    assert threads_of_a_pipeline(cores) == expected


def test_a_process_that_has_used_tensorflow_is_not_stopped(threads_of_a_pipeline):
    tf.constant(0) + 1
    assert threads_of_a_pipeline(2) == 1
