"""Questions about text in photographs, documents, infographics and charts."""

from vlm.data.layouts import Published
from vlm.data.layouts import questions as layouts
from vlm.data.tasks import amend
from vlm.metrics.short_answers import exact_match_lower, exact_match_lower_per_example
from vlm.metrics.submissions import document_submission, stvqa_submission, vqa_submission
from vlm.tasks.documents import add_chart_qa_task, add_document_qa_task
from vlm.tasks.vqa import PROMPT, add_vqa_task

RRC = 'https://rrc.cvc.uab.es'

TEXTVQA = add_vqa_task(
    'textvqa',
    Published(
        layouts.listed,
        {split: f'textvqa/TextVQA_0.5.1_{split}.json' for split in ('train', 'val', 'test')},
        images={
            'train': 'textvqa/train_images/{image_id}.jpg',
            'val': 'textvqa/train_images/{image_id}.jpg',
            'test': 'textvqa/test_images/{image_id}.jpg',
        },
        fetch='TextVQA v0.5.1 and the pictures of https://textvqa.org/dataset into textvqa/',
    ),
)
amend(TEXTVQA, submission=vqa_submission)

STVQA = add_document_qa_task(
    'stvqa',
    Published(
        layouts.stvqa,
        {'train': 'stvqa/train_task_3.json', 'test': 'stvqa/test_task_3.json'},
        images={
            'train': 'stvqa/train_images/{file_path}',
            'test': 'stvqa/test_task3_images/{file_path}',
        },
        fetch=f'ST-VQA, task 3, of {RRC}/?ch=11 into stvqa/',
    ),
    prompt=PROMPT,
)
amend(STVQA, submission=stvqa_submission)

add_vqa_task(
    'ocrvqa',
    Published(
        layouts.ocrvqa,
        dict.fromkeys(('train', 'val', 'test'), 'ocrvqa/dataset.json'),
        images='ocrvqa/images/{name}',
        fetch='dataset.json and, with its loadDataset.py, the pictures of '
        'https://ocr-vqa.github.io into ocrvqa/',
        keep={split: (split,) for split in ('train', 'val', 'test')},
    ),
    metrics=(exact_match_lower,),
    score=exact_match_lower_per_example,
)

DOCVQA = add_document_qa_task(
    'docvqa',
    Published(
        layouts.listed,
        {
            'train': 'docvqa/train_v1.0_withQT.json',
            'val': 'docvqa/val_v1.0_withQT.json',
            'test': 'docvqa/test_v1.0.json',
        },
        images='docvqa/{image}',
        fetch=f'DocVQA (task 1: json files and documents/) of {RRC}/?ch=17 into docvqa/',
    ),
)
amend(DOCVQA, submission=document_submission)

INFOVQA = add_document_qa_task(
    'infographicvqa',
    Published(
        layouts.listed,
        {
            'train': 'infographicvqa/infographicsVQA_train_v1.0.json',
            'val': 'infographicvqa/infographicsVQA_val_v1.0_withQT.json',
            'test': 'infographicvqa/infographicsVQA_test_v1.0.json',
        },
        images='infographicvqa/images/{image_local_name}',
        fetch=f'InfographicVQA (task 3) of {RRC}/?ch=17 into infographicvqa/',
    ),
    prompt=PROMPT,
)
amend(INFOVQA, submission=document_submission)

# Papers print the mean of the two test sets: the mean of the family.
for kind in ('human', 'augmented'):
    CHARTQA = add_chart_qa_task(
        f'chartqa_{kind}',
        Published(
            layouts.chartqa,
            {split: f'chartqa/{split}/{split}_{kind}.json' for split in ('train', 'val', 'test')},
            images={split: f'chartqa/{split}/png/{{name}}' for split in ('train', 'val', 'test')},
            fetch='"ChartQA Dataset" of https://github.com/vis-nlp/ChartQA as chartqa/',
        ),
    )
    amend(CHARTQA, family='chartqa')
