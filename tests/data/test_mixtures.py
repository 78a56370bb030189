"""Rates of mixtures: as given, of numbers of examples, and what is refused."""

import pytest
import seqio

from vlm.data import mixtures
from vlm.data.mixtures import add_mixture, rates_of
from vlm.errors import UserError
from vlm.tasks.captioning import add_captioning_task
from vlm.tasks.vqa import add_vqa_task


@pytest.fixture
def two(new_task):
    return new_task(add_captioning_task, []), new_task(add_vqa_task, [])


@pytest.fixture(autouse=True)
def forget():
    before = set(seqio.MixtureRegistry.names())
    yield
    for name in set(seqio.MixtureRegistry.names()) - before:
        seqio.MixtureRegistry.remove(name)
        mixtures._SPECS.pop(name)


def test_rates_as_given(two):
    first, second = two
    add_mixture('mix', rates={first: 3, second: 0.5}, origin='a paper')
    assert rates_of('mix') == ({first: 3.0, second: 0.5}, 'a paper')
    assert rates_of(first) == ({first: 1.0}, '')


def test_rates_of_examples(two):
    first, second = two
    add_mixture('plain', examples={first: 400, second: 100})
    assert rates_of('plain')[0] == {first: 400, second: 100}
    add_mixture('warm', examples={first: 400, second: 100}, temperature=2)
    assert rates_of('warm')[0] == {first: pytest.approx(20), second: pytest.approx(10)}
    add_mixture('cut', examples={first: 400, second: 100}, most=200)
    assert rates_of('cut')[0] == {first: 200, second: 100}


@pytest.mark.parametrize(
    ('options', 'told'),
    [
        ({}, 'either rates or examples'),
        ({'rates': {}}, 'no tasks'),
        ({'rates': {'a_test_task': 1}}, 'Nearest: a_test_task_'),
        ({'rates': {'a_test_task_0': 0}}, 'want a number > 0'),
        ({'rates': {'a_test_task_0': float('nan')}}, 'want a number > 0'),
        ({'examples': {'a_test_task_0': 1}, 'temperature': 0}, 'above 0'),
    ],
)
def test_mistakes(two, options, told):
    with pytest.raises(UserError, match=told):
        add_mixture('mix', **options)
    with pytest.raises(UserError, match="mixture 'dem'"):
        rates_of('dem')


def test_pipelines_are_not_tuned(two, dataset):
    # An iterator of a tuned one keeps its owner waiting when it is let go of.
    add_mixture('mix', rates=dict.fromkeys(two, 1.0))
    for name in (*two, 'mix'):
        assert dataset(name).options().autotune.enabled is False
