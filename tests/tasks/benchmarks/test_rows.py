"""Every public benchmark: raw files in the published layout in; prompt, answer and score out."""

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import seqio
from PIL import Image

from vlm.boxes import BoxCodec
from vlm.data.image_files import decode_image, encode_png, is_absent
from vlm.data.layouts import Published
from vlm.data.tasks import declared, postprocess, spec_of
from vlm.errors import UserError
from vlm.tasks import benchmarks  # noqa: F401

from published_cases import CASES, FILES

SEVERAL = re.compile(r'(coco35l|xm3600|xgqa|marvl|babel_imagenet)_\w+')


def is_row(name: str) -> bool:
    return name in CASES or hasattr(seqio.TaskRegistry.get(name).source, 'fetch')


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """All files of all benchmarks."""
    root = tmp_path_factory.mktemp('published')
    png = encode_png(np.zeros((40, 80, 3), np.uint8))
    for name, content in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.write_bytes(png)
        elif isinstance(content, str):
            path.write_text(content, encoding='utf-8')
        elif isinstance(content, tuple):
            path.write_text('\n'.join(map(json.dumps, content)) + '\n')
        else:
            path.write_text(json.dumps(content))
    write_references(root / 'refcoco')
    write_words(root / 'iiit5k')
    for place in ('rsvqa_lr/Images_LR/3.tif', 'rsvqa_hr/Data/3.tif'):
        (root / place).parent.mkdir(exist_ok=True)
        Image.new('RGB', (80, 40)).save(root / place)
    return root


def write_references(folder: Path) -> None:
    def ref(number, image, split, sentence):
        sentences = [{'sent': sentence, 'raw': sentence, 'sent_id': number}]
        ids = {'ref_id': number, 'ann_id': number, 'image_id': image}
        return {**ids, 'split': split, 'sentences': sentences}

    test = ref(1, 9, 'testA', 'left cat')
    # The same image is evaluated in one set and trained on in the other.
    train = [ref(1, 9, 'train', 'left cat'), ref(2, 10, 'train', 'the other cat')]
    for place, refs in [('refcoco', [test]), ('refcoco+', [test]), ('refcocog', train)]:
        partition = 'umd' if place == 'refcocog' else 'unc'
        (folder / place / f'refs({partition}).p').write_bytes(pickle.dumps(refs))


def write_words(folder: Path) -> None:
    from scipy.io import savemat

    fields = [('ImgName', object), ('GroundTruth', object)]
    words = np.array([('train/1.png', 'Word'), ('train/2.png', 'two')], dtype=fields)
    savemat(folder / 'traindata.mat', {'traindata': words})


@pytest.fixture(scope='module')
def tfds_builder(tmp_path_factory):
    """A data set of one class in TFDS's form, for whatever name."""
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {
            'image': tfds.features.Image(encoding_format='png'),
            'label': tfds.features.ClassLabel(names=['pickup_truck']),
        }
    )
    data_dir = tmp_path_factory.mktemp('tfds') / 'tiny' / '1.0.0'
    data_dir.mkdir(parents=True)
    identity = tfds.core.dataset_info.DatasetIdentity(
        name='tiny', version=tfds.core.Version('1.0.0'), data_dir=str(data_dir), module_name='tiny'
    )
    writer = tfds.core.SequentialWriter(
        tfds.core.DatasetInfo(builder=identity, features=features), max_examples_per_shard=10
    )
    writer.initialize_splits(['train', 'test'])
    rows = [{'image': np.zeros((4, 4, 3), np.uint8), 'label': 0}] * 10
    writer.add_examples({'train': rows, 'test': rows})
    writer.close_all()
    return tfds.builder_from_directory(data_dir)


@pytest.fixture
def ask(folder, tfds_builder, monkeypatch):
    """`ask(task, split)`: its first record, the record's pairs."""
    monkeypatch.setenv('VLM_DATA_DIR', str(folder))
    monkeypatch.setattr('vlm.data.sources.tfds.prepared', lambda *_: tfds_builder)

    def make(name: str, split: str):
        source = seqio.TaskRegistry.get(name).source
        record = next(iter(source.records(split)))
        declared_task = spec_of(name)
        return record, declared_task.read(record, declared_task.prompt, np.random.default_rng(0))

    return make


@pytest.mark.parametrize('name', CASES)
def test_raw_example(name, ask, bad):
    split, prompt, right = CASES[name]
    record, pairs = ask(name, split)
    assert record['images'] and not any(map(is_absent, record['images']))
    assert all(decode_image(data).ndim == 3 for data in record['images'])
    pair = pairs[0]
    assert pair.prompt == prompt
    if pair.objects is None:
        assert list(pair.references or (pair.answer,)) == right
        assert pair.answer in right
    elif right is not None:
        assert pair.answer.startswith(right[0])
    meta = {'meta': json.dumps(pair.to_meta('x'))}
    target = postprocess('', meta, is_target=True)
    score = spec_of(name).score
    # Two of them, for the rarity of words is undefined in one.
    other = [('nothing', (0, 0, 1, 1))] if pair.objects is not None else ['nothing alike at all']
    scores = score([target, other], [postprocess(pair.answer, {}, is_target=False), 'none'])
    assert scores[0] >= 0.99 * (1 if len(target) < 2 else 0.5), scores
    assert not bad.counts()


def test_every_row_has_a_case():
    several = {SEVERAL.fullmatch(name)[1] for name in CASES if SEVERAL.fullmatch(name)}
    for name in filter(is_row, declared()):
        match = SEVERAL.fullmatch(name)
        assert name in CASES or (match and match[1] in several), name


def test_pictures_are_those_of_both_sides(ask):
    assert len(ask('nlvr2', 'dev')[0]['images']) == 2
    assert len(ask('marvl_sw', 'test')[0]['images']) == 2
    assert len(ask('msrvtt_qa', 'val')[0]['images']) == 2


def test_a_widget_is_framed(ask):
    record, _ = ask('widgetcap', 'dev')
    red = (decode_image(record['images'][0]) == (255, 0, 0)).all(axis=-1)
    # The lower left quarter of 40 x 80, three pixels thick.
    assert red[20:, :40].sum() == red.sum() == 20 * 40 - 14 * 34
    assert red[20, 0] and red[39, 39] and not red[30, 20]


def test_receipts_are_spotted_line_by_line(ask):
    _, pairs = ask('sroie_spotting', 'train')
    found = BoxCodec().parse(pairs[0].answer).objects
    assert [entry.label for entry in found] == ['TAN, WOON', 'TOTAL:']
    assert found[1].box == (pytest.approx(0.5, abs=1e-3), 0.0, 1.0, 1.0)


def test_combined_references_leave_evaluated_images_out(folder, monkeypatch):
    monkeypatch.setenv('VLM_DATA_DIR', str(folder))
    source = seqio.TaskRegistry.get('refcoco_combined').source
    assert [r['image_id'] for r in source.records('train')] == [10]
    assert [r['image_id'] for r in source.records('test')] == [9, 9]


def test_lvis_is_scored_by_what_was_looked_for(ask):
    pytest.importorskip('faster_coco_eval', reason="needs pip install 'vlm[metrics]'")
    _, pairs = ask('lvis', 'train')
    target = postprocess('', {'meta': json.dumps(pairs[0].to_meta('9'))}, is_target=True)
    assert (target.absent, target.incomplete) == (['dog'], ['cat'])
    assert target.frequencies == {'cat': 'f', 'dog': 'r'}
    (metric,) = [m for m in spec_of('lvis').metrics if m.func.__name__ == 'lvis_ap_as_said']
    # A cow, which nobody looked for, is neither right nor wrong.
    (cat, box) = target[0]
    said = BoxCodec().encode_objects([((0, 0, 1, 1), 'cow'), (box, cat)])
    assert metric([target], [said])['lvis_ap_as_said'] == pytest.approx(1)


def test_answers_that_are_not_published(ask):
    _, pairs = ask('vqav2', 'test-dev')
    assert pairs[0].references == ('<not published>',)


def test_absent_files_say_what_to_fetch(tmp_path, monkeypatch):
    monkeypatch.setenv('VLM_DATA_DIR', str(tmp_path))
    for name in filter(is_row, declared()):
        source = seqio.TaskRegistry.get(name).source
        if not isinstance(source, Published):
            continue
        for split in source.splits:
            with pytest.raises(UserError) as error:
                source.list_shards(split)
            said = str(error.value)
            assert str(tmp_path) in said and '\nFetch ' in said and '://' in said
            assert said.count('\n') == 1


def test_a_pickle_that_would_run_code_is_refused(tmp_path, folder):
    from vlm.data.layouts.regions import references

    evil = tmp_path / 'refs(unc).p'
    evil.write_bytes(pickle.dumps(print))
    with pytest.raises(UserError, match='plain pickle'):
        list(references(evil, folder / 'refcoco/refcoco/instances.json'))


def test_a_damaged_tiff_is_a_missing_image():
    from vlm.data.layouts.tiff import tiff_to_png

    assert is_absent(tiff_to_png(b'II*\0' + b'\0' * 20))
