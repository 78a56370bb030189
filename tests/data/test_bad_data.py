"""Counting and naming what could not be used."""

from concurrent.futures import ThreadPoolExecutor

from vlm.data.bad_data import BadData


def test_counts_by_kind():
    bad = BadData()
    bad.add('undecodable_images', 'a', 'truncated')
    bad.add('undecodable_images', 'a', 'truncated')
    bad.add('unusable_records', 'b', 'no caption')
    assert bad.counts() == {'undecodable_images': 2, 'unusable_records': 1}
    assert bad.named('undecodable_images') == {'a': 'truncated'}
    assert bad.named('unusable_records') == {'b': 'no caption'}


def test_names_the_first_five_and_counts_all():
    bad = BadData()
    for i in range(9):
        bad.add('k', f'id{i}', f'reason {i}')
    bad.add('k', 'id2', 'again')
    assert bad.counts() == {'k': 10}
    assert list(bad.named('k')) == ['id0', 'id1', 'id2', 'id3', 'id4']
    assert bad.named('k')['id2'] == 'again'


def test_ids_with_the_same_wrong_stand_together():
    bad = BadData()
    for example_id, reason in [('a', 'cut'), ('b', 'empty'), ('c', 'cut')]:
        bad.add('k', example_id, reason)
    assert bad.ids_by_reason('k') == {'cut': ['a', 'c'], 'empty': ['b']}
    assert bad.ids_by_reason('other') == {}


def test_asking_for_what_never_happened_leaves_no_trace():
    bad = BadData()
    assert bad.named('k') == {}
    assert bad.counts() == {}
    assert bad._named == {}


def test_answers_are_copies():
    bad = BadData()
    bad.add('k', 'a', 'reason')
    bad.counts().clear()
    bad.named('k').clear()
    assert (bad.counts(), bad.named('k')) == ({'k': 1}, {'a': 'reason'})


def test_clear():
    bad = BadData()
    bad.add('k', 'a', 'reason')
    bad.clear()
    assert (bad.counts(), bad.named('k')) == ({}, {})


def test_no_count_is_lost_between_threads():
    bad = BadData()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: bad.add('k', str(i), 'reason'), range(2000)))
    assert bad.counts() == {'k': 2000}
    assert len(bad.named('k')) == 5
