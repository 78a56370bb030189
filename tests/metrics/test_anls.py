"""ANLS in both conventions: by published probes."""

import pytest

from vlm.errors import UNANSWERED
from vlm.metrics.anls import anls, anls_per_example, anls_rrc, anls_rrc_per_example


@pytest.mark.parametrize(
    ('reference', 'said', 'plain', 'rrc'),
    [
        ('abcd', 'abce', 0.75, 0.75),
        ('abcd', 'abxx', 0, 0.5),  # half of it wrong
        ('ab', 'b', 0, 0.5),
        ('hello world', 'hello  world', 11 / 12, 1),
        ("Won't", "Don't", 0.8, 0.8),
        ('WON', 'won', 1, 1),
        ('', '', 1, 1),
        ('2.5 mg', '2.5mg', 5 / 6, 5 / 6),
        # The double space counts in one distance (3 against 2); the length is 7 in both.
        ('ab  cd', 'ab cd x', 0.5714286, 5 / 7),
        ('abc', UNANSWERED, 0, 0),
        ('', UNANSWERED, 0, 0),
    ],
)
def test_probes_in_both_conventions(reference, said, plain, rrc):
    assert anls_per_example([[reference]], [said]) == [pytest.approx(plain)]
    assert anls_rrc_per_example([[reference]], [said]) == [pytest.approx(rrc)]


def test_pix2struct_unit_test():
    targets = [[t] for t in ['abc', 'Abc', 'abc', '96%', '94%', '0.96', '0.94', "Won't"]]
    predictions = ['abc', 'abc', 'Abc', '100%', '100%', '100%', '100%', "Don't"]
    assert anls(targets, predictions) == {'anls': pytest.approx(0.475)}


def test_the_nearest_reference_counts_and_the_figure_is_the_mean():
    targets, predictions = [['xyz', 'abcd'], ['q']], ['abce', 'zz']
    assert anls(targets, predictions) == {'anls': 0.375}
    assert anls_rrc(targets, predictions) == {'anls_rrc': 0.375}
