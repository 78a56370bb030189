"""Records as a SeqIO source."""

import json

import pytest
import seqio

from vlm.data.sources import RecordSource


def records(count: int) -> list[dict]:
    return [{'id': f'r{i}', 'images': [b'x'], 'number': i} for i in range(count)]


def elements(source: RecordSource, split: str = 'train', **options) -> list[dict]:
    return list(source.get_dataset(split, **options).as_numpy_iterator())


def ids(found: list[dict]) -> list[str]:
    return [element['id'].decode() for element in found]


def test_a_record_comes_through_whole():
    record = {
        'id': 'é/1',
        'images': [b'\x00PNG\x00\x00', b''],
        'caption': 'Größe 👍🏽 \u2028 שלום',
        'objects': [{'label': 'cat', 'box': [0.1, 0.2, 0.3, 1]}],
        'nothing': None,
    }
    (element,) = elements(RecordSource(lambda split: [record], {'train': 1}))
    assert element['id'].decode() == 'é/1'
    assert element['images'].tolist() == [b'\x00PNG\x00\x00', b'']
    fields = json.loads(element['record'])
    assert fields == {k: v for k, v in record.items() if k not in ('id', 'images')}


def test_lone_surrogates_stop_nothing():
    record = {'id': 'a\ud800', 'images': [], 'caption': 'x \udfff y'}
    (element,) = elements(RecordSource(lambda split: [record], {'train': 1}))
    assert element['id'] == b'a?'
    assert element['images'].shape == (0,)
    assert json.loads(element['record'])['caption'] == 'x \udfff y'


def test_nothing_is_read_before_the_data_are():
    asked = []

    def read(split):
        asked.append(split)
        return records(2)

    source = RecordSource(read, {'train': 2, 'test': 2})
    dataset = source.get_dataset('test')
    assert (source.splits, source.num_input_examples('test'), asked) == (('train', 'test'), 2, [])
    assert ids(list(dataset.as_numpy_iterator())) == ['r0', 'r1']
    assert asked == ['test']


def test_order_is_the_source_own_at_every_reading():
    source = RecordSource(lambda split: records(5), {'train': 5})
    dataset = source.get_dataset('train', shuffle=True, seed=3)
    for _ in range(2):
        assert ids(list(dataset.as_numpy_iterator())) == ['r0', 'r1', 'r2', 'r3', 'r4']


@pytest.mark.parametrize('num_shards', [1, 2, 3, 7])
def test_shards_are_disjoint_and_complete(num_shards):
    source = RecordSource(lambda split: iter(records(5)), {'train': 5})
    assert source.supports_arbitrary_sharding
    shards = [
        ids(elements(source, shard_info=seqio.ShardInfo(i, num_shards))) for i in range(num_shards)
    ]
    assert shards[0] == [f'r{i}' for i in range(0, 5, num_shards)]
    assert sorted(sum(shards, [])) == [f'r{i}' for i in range(5)]


def test_unknown_counts():
    source = RecordSource(lambda split: records(3), {'train': None, 'test': 3})
    assert source.num_input_examples('train') is None
    assert len(elements(source)) == 3


def test_records_are_made_one_at_a_time():
    made = []

    def read(split):
        for record in records(1000):
            made.append(record['id'])
            yield record

    iterator = RecordSource(read, {'train': 1000}).get_dataset('train').as_numpy_iterator()
    assert next(iterator)['id'] == b'r0'
    del iterator  # a generator still open at exit would keep the interpreter waiting
    assert len(made) < 100
