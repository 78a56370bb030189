"""Questions about photographs, with PaliGemma's prompt `answer en {question}`."""

from vlm.data.layouts import Published
from vlm.data.layouts import questions as layouts
from vlm.data.tasks import amend
from vlm.metrics.short_answers import (
    exact_match_lower,
    exact_match_lower_per_example,
    number_match,
    number_match_per_example,
)
from vlm.metrics.submissions import vizwiz_submission, vqa_submission
from vlm.metrics.text import exact_match, exact_match_per_example
from vlm.metrics.vqa import vqa_accuracy_simple, vqa_accuracy_simple_per_example
from vlm.tasks.benchmarks.places import COCO_FETCH, GQA_FETCH, VG_FETCH, coco_2014
from vlm.tasks.vqa import add_vqa_task

EXACT = {'metrics': (exact_match,), 'score': exact_match_per_example}
LOWER = {'metrics': (exact_match_lower,), 'score': exact_match_lower_per_example}
SIMPLE = {'metrics': (vqa_accuracy_simple,), 'score': vqa_accuracy_simple_per_example}
NUMBER = {'metrics': (number_match,), 'score': number_match_per_example}

QUESTIONS = 'vqav2/v2_OpenEnded_mscoco_{}_questions.json'
VQAV2 = add_vqa_task(
    'vqav2',
    Published(
        layouts.vqa_pairs,
        {
            'train': [QUESTIONS.format('train2014'), 'vqav2/v2_mscoco_train2014_annotations.json'],
            'val': [QUESTIONS.format('val2014'), 'vqav2/v2_mscoco_val2014_annotations.json'],
            'test-dev': QUESTIONS.format('test-dev2015'),
            'test': QUESTIONS.format('test2015'),
        },
        images={
            'train': coco_2014('train2014'),
            'val': coco_2014('val2014'),
            'test-dev': coco_2014('test2015'),
            'test': coco_2014('test2015'),
        },
        fetch=f'questions and annotations of https://visualqa.org/download.html into vqav2/; '
        f'{COCO_FETCH}',
    ),
)
amend(VQAV2, submission=vqa_submission)

add_vqa_task(
    'okvqa',
    Published(
        layouts.vqa_pairs,
        {
            split: [
                f'okvqa/OpenEnded_mscoco_{split}2014_questions.json',
                f'okvqa/mscoco_{split}2014_annotations.json',
            ]
            for split in ('train', 'val')
        },
        images={'train': coco_2014('train2014'), 'val': coco_2014('val2014')},
        fetch=f'https://okvqa.allenai.org/download.html into okvqa/; {COCO_FETCH}',
    ),
    **SIMPLE,
)

add_vqa_task(
    'gqa',
    Published(
        layouts.gqa,
        {
            split: f'gqa/{split}_balanced_questions.json'
            for split in ('train', 'val', 'testdev', 'test')
        },
        images='gqa/images/{image}.jpg',
        fetch=GQA_FETCH,
    ),
    **EXACT,
)

for language in ('bn', 'de', 'en', 'id', 'ko', 'pt', 'ru', 'zh'):
    XGQA = add_vqa_task(
        f'xgqa_{language}',
        Published(
            layouts.gqa,
            {'testdev': f'xgqa/zero_shot/testdev_balanced_questions_{language}.json'},
            images='gqa/images/{image}.jpg',
            fetch=f'https://github.com/adapter-hub/xGQA (data/zero_shot) into xgqa/; {GQA_FETCH}',
        ),
        **EXACT,
    )
    amend(XGQA, family='xgqa')

add_vqa_task(
    'nlvr',
    Published(
        layouts.nlvr,
        {split: f'nlvr/{split}/{split}.json' for split in ('train', 'dev', 'test')},
        images={
            split: f'nlvr/{split}/images/{{directory}}/{split}-{{identifier}}-0.png'
            for split in ('train', 'dev', 'test')
        },
        fetch='the folder nlvr of https://github.com/lil-lab/nlvr',
    ),
    **EXACT,
)


def _two(place: str) -> list[str]:
    return [f'nlvr2/images/{place}{{base}}-img{i}.png' for i in (0, 1)]


NLVR2_FETCH = (
    'nlvr2/data of https://github.com/lil-lab/nlvr as nlvr2/data, the pictures (asked for there) '
    'as nlvr2/images'
)
add_vqa_task(
    'nlvr2',
    Published(
        layouts.nlvr,
        {split: f'nlvr2/data/{split}.json' for split in ('train', 'dev', 'test1')},
        images={
            'train': _two('train/{directory}/'),
            'dev': _two('dev/'),
            'test1': _two('test1/'),
        },
        fetch=NLVR2_FETCH,
    ),
    **EXACT,
)

for language in ('id', 'sw', 'ta', 'tr', 'zh'):
    MARVL = add_vqa_task(
        f'marvl_{language}',
        Published(
            layouts.marvl,
            {'test': f'marvl/{language}/annotations/marvl-{language}.jsonl'},
            images=[
                f'marvl/{language}/images/{{concept}}/{{{side}_img}}' for side in ('left', 'right')
            ],
            fetch='marvl-images.zip and the annotations of https://marvl-challenge.github.io',
        ),
        **EXACT,
    )
    amend(MARVL, family='marvl')

VIZWIZ = add_vqa_task(
    'vizwiz',
    Published(
        layouts.listed,
        {split: f'vizwiz/Annotations/{split}.json' for split in ('train', 'val', 'test')},
        images={split: f'vizwiz/{split}/{{image}}' for split in ('train', 'val', 'test')},
        fetch='https://vizwiz.org/tasks-and-datasets/vqa into vizwiz/',
    ),
    **SIMPLE,
)
amend(VIZWIZ, submission=vizwiz_submission)

add_vqa_task(
    'tallyqa',
    Published(
        layouts.tallyqa,
        {
            'train': 'tallyqa/train.json',
            'test_simple': 'tallyqa/test.json',
            'test_complex': 'tallyqa/test.json',
        },
        images='tallyqa/images/{image}',
        fetch='https://github.com/manoja328/tallyqa into tallyqa/; into tallyqa/images train2014 '
        f'and val2014 of https://cocodataset.org/#download; {VG_FETCH}',
        keep={'train': ('train',), 'test_simple': ('simple',), 'test_complex': ('complex',)},
    ),
    **NUMBER,
)

add_vqa_task(
    'pope',
    Published(
        layouts.pope,
        {kind: f'pope/coco_pope_{kind}.json' for kind in ('random', 'popular', 'adversarial')},
        images='coco/val2014/{name}',
        fetch=f'output/coco of https://github.com/RUCAIBox/POPE into pope/; {COCO_FETCH}',
    ),
    prompt='{question}',
    **LOWER,
)
