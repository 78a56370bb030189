"""Multiple choice; A-OKVQA is asked both ways."""

from vlm.data.layouts import Published
from vlm.data.layouts import questions as layouts
from vlm.metrics.vqa import vqa_accuracy_simple, vqa_accuracy_simple_per_example
from vlm.tasks.benchmarks.places import COCO_2017_FETCH
from vlm.tasks.multiple_choice import add_lettered_choice_task, add_multiple_choice_task
from vlm.tasks.vqa import add_vqa_task

AOKVQA = Published(
    layouts.aokvqa,
    {split: f'aokvqa/aokvqa_v1p0_{split}.json' for split in ('train', 'val', 'test')},
    images={split: f'coco/{split}2017/{{image_id:012d}}.jpg' for split in ('train', 'val', 'test')},
    fetch='aokvqa_v1p0.tar.gz of https://github.com/allenai/aokvqa into aokvqa/; '
    f'{COCO_2017_FETCH}',
)
add_vqa_task(
    'aokvqa_direct',
    AOKVQA,
    metrics=(vqa_accuracy_simple,),
    score=vqa_accuracy_simple_per_example,
)
# Two spaces, as in PaliGemma's configuration.
add_multiple_choice_task(
    'aokvqa_choice', AOKVQA, prompt='answer en  {question} choose from: {choices}'
)

add_lettered_choice_task(
    'scienceqa',
    Published(
        layouts.scienceqa,
        dict.fromkeys(('train', 'val', 'test'), 'scienceqa/problems.json'),
        images={
            split: f'scienceqa/images/{split}/{{id}}/{{image}}'
            for split in ('train', 'val', 'test')
        },
        fetch='problems.json and the pictures of https://scienceqa.github.io into scienceqa/',
        keep={split: (split,) for split in ('train', 'val', 'test')},
    ),
)

add_multiple_choice_task(
    'ai2d',
    Published(
        layouts.ai2d,
        dict.fromkeys(('train', 'test'), ['ai2d/ai2d_test_ids.csv', 'ai2d/questions']),
        images='ai2d/images/{name}',
        fetch='ai2d-all.zip and ai2d_test_ids.csv of https://prior.allenai.org/projects/'
        'diagram-understanding into ai2d/',
        keep={'train': ('train',), 'test': ('test',)},
    ),
)
