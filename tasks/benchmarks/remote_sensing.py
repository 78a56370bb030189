"""RSVQA: questions about satellite and aerial pictures, without those answered by a number.

Papers print the mean over types of question, which is the mean of a family here.
"""

from vlm.data.layouts import Published
from vlm.data.layouts import questions as layouts
from vlm.data.tasks import amend
from vlm.metrics.short_answers import exact_match_lower, exact_match_lower_per_example
from vlm.tasks.vqa import add_vqa_task

FETCH = 'of https://rsvqa.sylvainlobry.com into '


def _add_rsvqa_task(family: str, kind: str, files: dict[str, str], images: str, fetch: str) -> None:
    spec = add_vqa_task(
        f'{family}_{kind}',
        Published(
            layouts.rsvqa,
            {s: [f'{stem}_questions.json', f'{stem}_answers.json'] for s, stem in files.items()},
            images=images,
            fetch=fetch,
            keep=dict.fromkeys(files, (kind,)),
        ),
        metrics=(exact_match_lower,),
        score=exact_match_lower_per_example,
    )
    amend(spec, family=family)


for kind in ('presence', 'comp', 'rural_urban'):
    _add_rsvqa_task(
        'rsvqa_lr',
        kind,
        {split: f'rsvqa_lr/LR_split_{split}' for split in ('train', 'val', 'test')},
        'rsvqa_lr/Images_LR/{name}.tif',
        f'the low resolution data {FETCH}rsvqa_lr/',
    )

for kind in ('presence', 'comp'):
    _add_rsvqa_task(
        'rsvqa_hr',
        kind,
        {split: f'rsvqa_hr/USGS_split_{split}' for split in ('train', 'val', 'test', 'test_phili')},
        'rsvqa_hr/Data/{name}.tif',
        f'the high resolution data {FETCH}rsvqa_hr/',
    )
