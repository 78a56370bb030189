"""Ranking candidates by 'true' and 'false' with scores, by hand."""

import pytest

from vlm.errors import UNANSWERED, UserError
from vlm.metrics.ranking import group_accuracy


def accuracy(*candidates):
    """Candidates of (group, right, said, score)."""
    targets = [(group, right) for group, right, _, _ in candidates]
    said, scores = [c[2] for c in candidates], [float(c[3]) for c in candidates]
    return group_accuracy(targets, said, scores)['group_accuracy']


def test_twelve_candidates_in_four_groups():
    candidates = [
        # The only 'true'.
        (0, False, 'false', -0.1),
        (0, True, 'true', -2.0),
        (0, False, 'false', -3.0),
        # The surest of several.
        (1, False, 'true', -1.5),
        (1, True, 'true', -0.5),
        (1, False, 'true', -0.6),
        # No 'true': the least sure 'false'.
        (2, True, 'false', -4.0),
        (2, False, 'false', -0.2),
        (2, False, 'false', -3.9),
        # A doubtful 'true' still beats a doubtful 'false'.
        (3, False, 'false', -9.0),
        (3, False, 'false', -0.1),
        (3, True, 'true', -8.0),
    ]
    assert accuracy(*candidates) == 1
    wrong_one = [(group, not right if group == 1 else right, *_) for group, right, *_ in candidates]
    assert accuracy(*wrong_one) == 0.75


def test_groups_need_not_stand_together():
    assert (
        accuracy(
            ('a', True, 'true', -1),
            ('b', False, 'true', -1),
            ('a', False, 'true', -2),
            ('b', True, 'true', -2),
        )
        == 0.5
    )


def test_no_answer_comes_last():
    assert accuracy(('a', True, UNANSWERED, 0.0), ('a', False, 'false', -0.01)) == 0
    assert accuracy(('a', False, UNANSWERED, 0.0), ('a', True, 'false', -0.01)) == 1


def test_what_cannot_be_scored_is_told():
    with pytest.raises(UserError, match="'a'"):
        accuracy(('a', False, 'true', -1))
    with pytest.raises(UserError, match='1 scores for 2 predictions'):
        group_accuracy([('a', True), ('a', False)], ['true', 'false'], [-1.0])
