"""COCO's files: joined, with what cannot be used named and its neighbours kept."""

import json

import pytest

from vlm.data.sources import Coco
from vlm.errors import UserError

IMAGES = [
    {'id': 9, 'file_name': 'a.png', 'height': 40, 'width': 80},
    {'id': 7, 'file_name': 'b.png', 'height': 10, 'width': 10},
]
CATEGORIES = [{'id': 1, 'name': 'cat'}, {'id': 90, 'name': 'dog'}]


def box(number: int, image: int, bbox, category: int = 1, **more) -> dict:
    return {'id': number, 'image_id': image, 'category_id': category, 'bbox': bbox, **more}


@pytest.fixture
def write(folder):
    def make(name: str, annotations: list, images=IMAGES, **more) -> None:
        (folder / name).write_text(
            json.dumps({'images': images, 'annotations': annotations, **more})
        )

    return make


def test_captions_and_boxes_of_an_image_are_one_record(write, read, png):
    instances = [box(1, 9, [8, 4, 16, 12]), box(2, 9, [0, 0, 80, 40], 90, segmentation=[[1, 2]])]
    write('i.json', instances, categories=CATEGORIES)
    captions = [{'id': i, 'image_id': 9, 'caption': f'c{i}'} for i in (5, 3)]
    write('c.json', captions)
    records = read(Coco({'train': ['i.json', 'c.json']}, {'train': '.'}))
    assert [record['id'] for record in records] == ['9', '7']
    first, second = records
    assert first['images'] == [png] and first['captions'] == ['c5', 'c3']
    # x 8..24 of 80, y 4..16 of 40, by hand.
    assert first['objects'] == [
        {'label': 'cat', 'box': [0.1, 0.1, 0.4, 0.3]},
        {'label': 'dog', 'box': [0, 0, 1, 1]},
    ]
    assert second['objects'] == [] and 'captions' not in second


def test_what_was_looked_for_is_told_by_label(write, read):
    lvis = [{**IMAGES[0], 'neg_category_ids': [90, 5], 'not_exhaustive_category_ids': [1]}]
    kinds = [{**CATEGORIES[0], 'frequency': 'f'}, {**CATEGORIES[1], 'frequency': 'r'}]
    write('l.json', [box(1, 9, [8, 4, 16, 12])], [*lvis, IMAGES[1]], categories=kinds)
    first, second = read(Coco({'train': 'l.json'}, {'train': '.'}))
    frequencies = {'cat': 'f', 'dog': 'r'}
    assert first['marking'] == {
        'absent': ['dog'],
        'incomplete': ['cat'],
        'frequencies': frequencies,
    }
    assert 'neg_category_ids' not in first and 'marking' not in second


@pytest.mark.parametrize('wrong', [None, 3, [[1]]])
def test_what_was_looked_for_is_kept_beside_captions_and_named_where_it_is_wrong(
    write, read, bad, wrong
):
    write('c.json', [{'id': 1, 'image_id': 9, 'caption': 'c'}])
    ids = {'not_exhaustive_category_ids': []}
    lvis = [
        {**IMAGES[0], 'neg_category_ids': [90], **ids},
        {**IMAGES[1], 'neg_category_ids': wrong},
    ]
    write('l.json', [], lvis, categories=CATEGORIES)
    first, second = read(Coco({'train': ['c.json', 'l.json']}, {'train': '.'}))
    assert first['captions'] == ['c'] and first['marking']['absent'] == ['dog']
    assert 'marking' not in second and list(bad.named('unusable_annotations')) == ['l.json image 7']


def test_without_an_instances_file_there_are_no_objects(write, read):
    write('c.json', [{'id': 1, 'image_id': 9, 'caption': 'c'}])
    source = Coco({'train': 'c.json'}, {'train': '.'}, fields={'caption': 'captions'})
    assert 'objects' not in read(source)[0]


def test_a_bad_annotation_never_loses_its_neighbours(write, read, bad):
    annotations = [
        box(1, 9, [8, 4, 16, 12]),
        box(2, 9, [8, 4, float('nan'), 12]),
        box(3, 9, [8, 4, -3, 12]),
        box(4, 9, [8, 4, 0, 12]),
        box(5, 9, [100, 4, 5, 12]),
        box(6, 9, [8, 4, 5]),
        box(7, 9, [8, 4, 16, 12], category=3),
        box(8, 1234, [8, 4, 16, 12]),
        {'id': 9, 'image_id': 9},
        {'id': 10, 'image_id': 9, 'caption': None},
        'nonsense',
        box(11, 9, [79, 0, 1.5, 40]),  # half a pixel too wide: rounding
    ]
    write('i.json', annotations, categories=CATEGORIES)
    records = read(Coco({'train': 'i.json'}, {'train': '.'}))
    assert [entry['box'][1] for entry in records[0]['objects']] == [0.1, 79 / 80]
    assert bad.counts() == {'unusable_annotations': 10}
    named = list(bad.named('unusable_annotations'))
    assert named == [f'i.json annotation {i}' for i in range(2, 7)]


def test_a_category_without_a_name_loses_its_objects_alone(write, read, bad):
    wrong = [*CATEGORIES, {'id': 2}, {'id': 3, 'name': None}, {'name': 'bird'}, 'cow', None]
    boxes = [box(i, 9, [8, 4, 16, 12], category=i) for i in (1, 2, 3)]
    lvis = [{**IMAGES[0], 'neg_category_ids': [90, 2]}, IMAGES[1]]
    write('i.json', boxes, lvis, categories=wrong)
    first, _ = read(Coco({'train': 'i.json'}, {'train': '.'}))
    assert [entry['label'] for entry in first['objects']] == ['cat']
    assert first['marking']['absent'] == ['dog']
    named = [f'i.json category {i}' for i in range(2, 7)]
    assert list(bad.named('unusable_annotations')) == named
    assert bad.counts() == {'unusable_annotations': 7}
    write('n.json', [], categories=None)
    assert len(read(Coco({'train': 'n.json'}, {'train': '.'}))) == 2


def test_crowds_are_left_out(write, read, bad):
    write('i.json', [box(1, 9, [8, 4, 16, 12], iscrowd=1)], categories=CATEGORIES)
    assert read(Coco({'train': 'i.json'}, {'train': '.'}))[0]['objects'] == []
    assert not bad.counts()


def test_images_that_are_bad(write, read, bad, folder):
    images = [{'id': 1}, {'file_name': 'a.png'}, {'id': 2, 'file_name': '../a.png'}, *IMAGES]
    write('c.json', [], images=images)
    records = read(Coco({'train': 'c.json'}, {'train': '.'}))
    assert [record['id'] for record in records] == ['2', '9', '7']
    assert set(bad.named('unreadable_rows')) == {'1', 'c.json images'}


def test_mistakes(folder, write):
    with pytest.raises(UserError, match="unknown split 'train'"):
        Coco({'train': 'i.json'}, {'tarin': '.'})
    (folder / 'i.json').write_text('{"images": [')
    source = Coco({'train': 'i.json'}, {'train': '.'})
    with pytest.raises(UserError, match='is not a JSON file'):
        list(source.records('train'))
    (folder / 'i.json').write_text('{"images": []}')
    with pytest.raises(UserError, match='no COCO file: it has no annotations'):
        list(source.records('train'))
