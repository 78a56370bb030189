"""Sharing out, shuffling, weights: the same records for every division of the work."""

import collections

import pytest
import seqio

from vlm.data.sources import Jsonl, prefer_synthetic
from vlm.data.sources.sharded import read_ahead

SIZES = [3, 1, 4, 2]  # rows of the files


@pytest.fixture
def source(write_lines) -> Jsonl:
    for file, size in enumerate(SIZES):
        write_lines(f'f{file}.jsonl', [{'id': f'{file}/{row}'} for row in range(size)])
    return Jsonl({'train': 'f*.jsonl'})


ALL = [f'{file}/{row}' for file, size in enumerate(SIZES) for row in range(size)]


@pytest.fixture
def ids(read):
    def make(source, **options) -> list[str]:
        return [record['id'] for record in read(source, **options)]

    return make


def test_unshuffled_is_the_order_of_the_files(source, ids):
    assert ids(source) == ALL
    assert [record['id'] for record in source.records('train')] == ALL


@pytest.mark.parametrize('shuffle', [False, True])
@pytest.mark.parametrize('num_shards', [1, 2, 3, 4, 5, 12])
def test_shards_are_disjoint_and_complete(source, ids, num_shards, shuffle):
    shards = [
        ids(source, shuffle=shuffle, seed=5, shard_info=seqio.ShardInfo(i, num_shards))
        for i in range(num_shards)
    ]
    assert sorted(sum(shards, [])) == ALL
    if num_shards <= len(SIZES):  # whole files
        files = [{name[0] for name in shard} for shard in shards]
        assert sum(len(names) for names in files) == len(SIZES)
    else:
        assert max(map(len, shards)) <= len(SIZES)  # a row of each file at most, or nearly


def test_one_row_files_do_not_all_go_to_the_first_host(write_lines, ids):
    for file in range(3):
        write_lines(f'g{file}.jsonl', [{'id': str(file)}])
    source = Jsonl({'train': 'g*.jsonl'})
    shards = [ids(source, shard_info=seqio.ShardInfo(i, 4)) for i in range(4)]
    assert sorted(map(len, shards)) == [0, 1, 1, 1]


def test_a_row_of_another_shard_is_not_even_parsed(folder, ids, bad):
    (folder / 'd.jsonl').write_bytes(b'{"id": "a"}\nbroken\n{"id": "b"}\nbroken\n')
    source = Jsonl({'train': 'd.jsonl'})
    assert ids(source, shard_info=seqio.ShardInfo(0, 2)) == ['a', 'b']
    assert not bad.counts()  # the other host tells


def test_the_order_is_a_function_of_the_seed_and_new_in_each_epoch(source):
    def order(seed: int) -> list[str]:
        dataset = source.get_dataset('train', shuffle=True, seed=seed).repeat(3)
        return [element['id'].decode() for element in dataset.as_numpy_iterator()]

    assert order(1) == order(1)
    assert len({tuple(order(seed)[: len(ALL)]) for seed in range(4)}) > 2
    epochs = [tuple(order(1)[i : i + len(ALL)]) for i in range(0, 3 * len(ALL), len(ALL))]
    assert all(sorted(epoch) == ALL for epoch in epochs)
    assert len(set(epochs)) > 1


def test_weights_are_the_mean_number_of_times_in_training_only(write_lines, ids, bad):
    weights = {'never': 0, 'rare': 0.25, 'one': 1, 'often': 2.5}
    rows = [{'id': name, 'w': weight} for name, weight in weights.items()]
    broken = [{'id': 'none'}, {'id': 'nan', 'w': float('nan')}, {'id': 'minus', 'w': -1}]
    broken += [{'id': 'text', 'w': '1'}, {'id': 'true', 'w': True}, {'id': 'huge', 'w': 1e9}]
    write_lines('d.jsonl', [*rows, *broken])
    source = Jsonl({'train': 'd.jsonl'}, weight='w')
    assert len(ids(source)) == len(rows) + len(broken)
    assert not bad.counts()
    epochs = 100
    dataset = source.get_dataset('train', shuffle=True, seed=0).repeat(epochs)
    seen = collections.Counter(e['id'].decode() for e in dataset.as_numpy_iterator())
    assert set(seen) == {'rare', 'one', 'often'} and seen['one'] == epochs
    # Four standard deviations of a binomial with p = 1/4 and 1/2.
    assert abs(seen['rare'] - 0.25 * epochs) < 4 * (epochs * 3 / 16) ** 0.5
    assert abs(seen['often'] - 2.5 * epochs) < 4 * (epochs / 4) ** 0.5
    assert bad.counts() == {'unreadable_rows': epochs * len(broken)}


def test_weighted_reading_is_a_function_of_the_seed(write_lines, ids):
    write_lines('d.jsonl', [{'id': str(i), 'w': 0.5} for i in range(40)])
    source = Jsonl({'train': 'd.jsonl'}, weight='w')
    first, again, other = (ids(source, shuffle=True, seed=seed) for seed in (3, 3, 4))
    assert first == again != other


def test_captions_raw_or_generated_by_score(write_lines, read, bad):
    texts = {'caption': 'raw', 'synthetic_caption': 'generated'}
    rows = [{'id': str(score), 'score': score, **texts} for score in (0.2, 0.5, 0.9)]
    rows += [{'id': 'raw', 'score': 1, 'caption': 'raw'}, {'id': 'a', 'score': 0, 'caption': 'raw'}]
    rows += [{'id': 'b', **texts}, {'id': 'c', 'score': float('nan'), **texts}]
    write_lines('d.jsonl', rows)
    source = Jsonl({'train': 'd.jsonl'}, transform=prefer_synthetic)
    said = {record['id']: record['caption'] for record in read(source)}
    assert said == {'0.2': 'generated', '0.5': 'raw', '0.9': 'raw', 'raw': 'raw'}
    # In any order: rows are read beside each other.
    assert set(bad.named('unreadable_rows')) == {f'd.jsonl:{line}' for line in (5, 6, 7)}


def test_reading_ahead_is_in_order_and_bounded():
    begun = []
    results = read_ahead(lambda x: begun.append(x) or x * x, range(100), readers=3, ahead=5)
    assert next(results) == 0
    assert len(begun) <= 5
    assert [0, *results] == [x * x for x in range(100)]
