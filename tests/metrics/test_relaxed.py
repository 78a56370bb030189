"""Relaxed accuracy: pix2struct's published probes and the edges by hand."""

import pytest

from vlm.errors import UNANSWERED
from vlm.metrics.relaxed import relaxed_accuracy, relaxed_accuracy_per_example


def test_pix2struct_unit_test():
    targets = [[t] for t in ['abc', 'Abc', 'abc', '96%', '94%', '0.96', '0.94', "Won't"]]
    predictions = ['abc', 'abc', 'Abc', '100%', '100%', '100%', '100%', "Don't"]
    assert relaxed_accuracy_per_example(targets, predictions) == [1, 1, 1, 1, 0, 1, 0, 0]
    assert relaxed_accuracy(targets, predictions) == {'relaxed_accuracy': 0.625}


@pytest.mark.parametrize(
    ('reference', 'said', 'right'),
    [
        ('20', '21', True),  # exactly 5 %
        ('20', '21.01', False),
        ('20', '19', True),
        ('-20', '-21', True),
        ('-20', '20', False),
        ('50%', '0.5', True),
        ('50', '50%', False),
        ('1e3', '1000', True),
        ('0', '0.0', False),  # a reference of 0 is compared as text
        ('0', ' 0', True),
        ('1,000', '1000', False),
        ('2019', '2018', True),  # years, too, are numbers
        ('nan', 'NaN', True),
        ('inf', '5', False),
        ('%', '%', True),
        ('Yes', 'yes ', True),
        ('yes', UNANSWERED, False),
    ],
)
def test_edges(reference, said, right):
    assert relaxed_accuracy_per_example([[reference]], [said]) == [right]


def test_any_reference_may_match():
    assert relaxed_accuracy_per_example([['10', '20']], ['20.5']) == [1]
