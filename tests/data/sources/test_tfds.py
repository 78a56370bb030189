"""TensorFlow Datasets: a small data set, prepared here."""

import numpy as np
import pytest
import seqio
import tensorflow_datasets as tfds

from vlm.data.image_files import encode_png
from vlm.data.sources import Tfds
from vlm.data.sources.tfds import _cut
from vlm.errors import UserError

ROWS = 12


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp('tfds')
    image = np.full((4, 8, 3), 200, np.uint8)
    objects = {
        'label': tfds.features.ClassLabel(names=['cat', 'dog']),
        'bbox': tfds.features.BBoxFeature(),
    }
    features = tfds.features.FeaturesDict(
        {
            'image': tfds.features.Image(shape=(4, 8, 3), encoding_format='png'),
            'caption': tfds.features.Text(),
            'kind': tfds.features.ClassLabel(names=['flat', 'round']),
            'objects': tfds.features.Sequence(objects),
        }
    )

    data_dir = folder / 'tiny' / '1.0.0'
    data_dir.mkdir(parents=True)
    identity = tfds.core.dataset_info.DatasetIdentity(
        name='tiny',
        version=tfds.core.Version('1.0.0'),
        data_dir=str(data_dir),
        module_name='tiny',
    )
    info = tfds.core.DatasetInfo(builder=identity, features=features)
    writer = tfds.core.SequentialWriter(info, max_examples_per_shard=5)
    writer.initialize_splits(['train'])
    for i in range(ROWS):
        boxes = [{'label': 'dog', 'bbox': tfds.features.BBox(0.0, 0.25, 0.5, 1.0)}] * (i % 3)
        row = {'image': image, 'caption': f'nr {i}', 'kind': i % 2, 'objects': boxes}
        writer.add_examples({'train': [row]})
    writer.close_all()
    return folder, encode_png(image)


@pytest.fixture
def make(prepared, monkeypatch):
    monkeypatch.setenv('VLM_DATA_DIR', str(prepared[0]))

    def made(spec: str = 'train', name: str = 'tiny', **options) -> Tfds:
        options = {'object_fields': {'box': 'bbox'}, **options}
        return Tfds(name, {'train': spec}, folder='.', **options)

    return made


def test_rows_with_encoded_pictures_and_names(make, read):
    records = {record['caption']: record for record in read(make())}
    assert set(records) == {f'nr {i}' for i in range(ROWS)}
    record = records['nr 5']
    assert record['images'][0].startswith(b'\x89PNG')
    assert record['kind'] == 'round' and record['id'].startswith('tiny/train/')
    assert (
        record['objects']
        == [{'label': 'dog', 'bbox': [0, 0.25, 0.5, 1], 'box': [0, 0.25, 0.5, 1]}] * 2
    )
    assert records['nr 3']['objects'] == []


def test_slices_and_shards(make, read):
    ids = [record['id'] for record in read(make('train'))]
    assert ids == [f'tiny/train/{i}' for i in range(ROWS)]
    source = make('train[25%:]')
    assert [record['id'] for record in read(source)] == ids[3:]
    assert source.list_shards('train') == ['train[3:5]', 'train[5:10]', 'train[10:12]']
    shards = [read(source, shard_info=seqio.ShardInfo(i, 2)) for i in range(2)]
    assert sorted(r['id'] for shard in shards for r in shard) == sorted(ids[3:])


def test_pieces_end_where_files_do():
    assert _cut(2, 7, [3, 3, 3]) == [(2, 3), (3, 6), (6, 7)]
    assert _cut(3, 6, [3, 3, 3]) == [(3, 6)]
    assert _cut(0, 9, [3, 3, 3]) == [(0, 3), (3, 6), (6, 9)]
    assert _cut(None, None, [3, 2]) == [(0, 3), (3, 5)]
    assert _cut(0, 2, [3]) == [(0, 2)]


def test_mistakes(make):
    with pytest.raises(UserError, match="unknown TFDS data set 'mnits'.*Nearest: mnist"):
        make(name='mnits').get_dataset('train')
    # Either it is not prepared here, or a package that its builder needs is not.
    with pytest.raises(UserError, match='tfds build mnist|pip install'):
        make(name='mnist').get_dataset('train')
    with pytest.raises(UserError, match="tiny has no split 'trian'.*'train'"):
        make('trian').get_dataset('train')
