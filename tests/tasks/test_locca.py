"""LocCa's three tasks: a record in, features and metric out."""

import gin
import pytest

from vlm.boxes import BoxCodec
from vlm.errors import UNANSWERED
from vlm.tasks.locca import add_aref_task, add_cap_task, add_gcap_task

# In 1,024 bins: 0102 0205 0307 0409 and 0512 0256 0895 0767.
FIRST, SECOND = [0.1, 0.2, 0.3, 0.4], [0.5, 0.25, 0.875, 0.75]
FIRST_TEXT = '<loc0102><loc0205><loc0307><loc0409>'
SECOND_TEXT = '<loc0512><loc0256><loc0895><loc0767>'


@pytest.fixture
def records(image):
    objects = [
        {'label': 'triangle', 'caption': 'a blue triangle', 'box': FIRST},
        {'label': 'circle', 'box': SECOND},
    ]
    return [{'id': 'a', 'images': [image], 'caption': 'two <loc0001> shapes', 'objects': objects}]


def test_cap(new_task, records, asked, score):
    name = new_task(add_cap_task, records)
    prompt, answer, meta = asked(name)[0]
    assert (prompt, answer) == ('Cap:', 'two <\\loc0001> shapes')
    assert meta['references'] == ['two <loc0001> shapes']
    assert score(name, [meta], [answer]) == {'exact_match': 1}
    assert score(name, [meta], [UNANSWERED]) == {'exact_match': 0}


def test_aref_asks_for_the_box_of_each_caption(new_task, records, asked, vocabulary):
    found = asked(new_task(add_aref_task, records))
    assert [(prompt, answer) for prompt, answer, _ in found] == [
        ('ARef: a blue triangle :', FIRST_TEXT),
        ('ARef: circle :', SECOND_TEXT),
    ]
    assert [meta['objects'] for _, _, meta in found] == [
        [[FIRST, 'a blue triangle']],
        [[SECOND, 'circle']],
    ]
    location = vocabulary.location_ids
    ids = [i for i in vocabulary.encode(FIRST_TEXT) if i in location]
    assert ids == [location[code] for code in (102, 205, 307, 409)]


def test_aref_as_locca_trained_it_writes_the_caption_first(new_task, records, asked):
    name = new_task(add_aref_task, records)
    gin.parse_config(f'vlm.data.prompts.prompt_overrides.templates = {{{name!r}: "ARef:"}}')
    assert [(prompt, answer) for prompt, answer, _ in asked(name)] == [
        ('ARef:', f'a blue triangle : {FIRST_TEXT}'),
        ('ARef:', f'circle : {SECOND_TEXT}'),
    ]


def test_gcap_draws_a_region(new_task, records, asked):
    found = asked(new_task(add_gcap_task, records), num_epochs=12)
    assert {(prompt, answer, meta['objects'][0][1]) for prompt, answer, meta in found} == {
        ('GCap:', f'{FIRST_TEXT} : a blue triangle', 'a blue triangle'),
        ('GCap:', f'{SECOND_TEXT} : circle', 'circle'),
    }


@pytest.mark.parametrize('add', [add_aref_task, add_gcap_task])
def test_box_metrics(new_task, records, asked, score, add):
    name = new_task(add, records)
    _, right, metas = zip(*asked(name), strict=True)
    found = score(name, metas, right)
    assert found == {'acc_at_0.5': 1, 'mean_iou': pytest.approx(1, abs=0.02), 'unreadable_boxes': 0}
    lost = score(name, metas, [UNANSWERED] * len(right))
    assert lost == {'acc_at_0.5': 0, 'mean_iou': 0, 'unreadable_boxes': 0}
    broken = score(name, metas, ['<loc0102><loc0205>'] * len(right))
    assert broken == {'acc_at_0.5': 0, 'mean_iou': 0, 'unreadable_boxes': len(right)}


def test_boxes_as_integers(new_task, records, asked, score):
    codec = BoxCodec(style='integer', bins=501)
    name = new_task(add_aref_task, records, codec=codec)
    _, answers, metas = zip(*asked(name), strict=True)
    assert answers == ('50 100 150 200', '250 125 438 375')
    found = score(name, metas, ['50 100 150 200', FIRST_TEXT])
    assert (found['acc_at_0.5'], found['unreadable_boxes']) == (0.5, 1)
    name = new_task(add_gcap_task, records, codec=codec)
    assert asked(name)[0][1] in ('50 100 150 200 : a blue triangle', '250 125 438 375 : circle')


def test_captions_with_location_tokens_name_no_box(new_task, records, asked, score):
    records[0]['objects'] = [{'label': 'x', 'caption': f'see {FIRST_TEXT}', 'box': SECOND}]
    for add in (add_aref_task, add_gcap_task):
        name = new_task(add, records)
        ((_, answer, meta),) = asked(name)
        assert score(name, [meta], [answer])['acc_at_0.5'] == 1


def test_no_regions(new_task, records, asked, bad):
    records[0]['objects'] = []
    assert asked(new_task(add_aref_task, records)) == []
    assert bad.counts() == {}  # nothing to ask is no fault
    assert asked(new_task(add_gcap_task, records)) == []
    assert list(bad.named('unusable_records')) == ['a']
