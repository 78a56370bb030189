"""Batches on their way to the devices."""

import numpy as np

from vlm.runner.feed import feed

BATCH = {
    'images': np.zeros((3, 1, 2, 2, 3), np.uint8),
    'encoder_input_tokens': np.array([[5, 1, 0], [5, 6, 1], [1, 0, 0]]),
    'decoder_target_tokens': np.array([[7, 1], [1, 0], [0, 0]]),
    'name': np.array([b'["b", "x"]', b'["a", "y"]', b'["", ""]'], dtype=object),
}


def test_names_stay_behind_and_become_rows_of_tasks():
    (fed,) = feed([BATCH], dict, ['a', 'b'])
    assert fed.origin.examples() == [('b', 'x'), ('a', 'y'), ('', '')]
    assert fed.origin.tokens == 6 + 3
    assert 'name' not in fed.arrays
    assert fed.arrays['images'].dtype == np.uint8
    # The last row carries no task, so it is nobody's.
    assert fed.arrays['task_rows'].tolist() == [[0, 1], [1, 0], [0, 0]]


def test_a_single_task_needs_no_rows():
    (fed,) = feed([BATCH], dict, ['a'])
    assert set(fed.arrays) == set(BATCH) - {'name'}


def test_a_batch_is_sent_when_it_is_asked_for_and_not_before():
    sent = []
    stream = feed([BATCH, BATCH], lambda batch: sent.append(1) or {}, ['a'])
    assert not sent
    next(stream)
    assert len(sent) == 1
