"""Captioning benchmarks, with PaliGemma's prompt `caption en` (or the language)."""

import numpy as np

from vlm.data.examples import Record
from vlm.data.image_files import ImageError, decode_image, encode_png
from vlm.data.layouts import Published
from vlm.data.layouts import captions as layouts
from vlm.data.tasks import amend
from vlm.metrics.captions import cider
from vlm.metrics.submissions import caption_submission
from vlm.tasks.benchmarks.places import COCO_FETCH, KARPATHY_FETCH, RICO_FETCH
from vlm.tasks.captioning import add_captioning_task
from vlm.tasks.language_captioning import COCO_35L, XM3600, add_language_captioning_tasks

CIDER = (cider,)

# Karpathy's split: restval are the val2014 images that he gives to training.
KARPATHY = {'train': ('train', 'restval'), 'val': ('val',), 'test': ('test',)}

COCO = add_captioning_task(
    'coco_captions',
    Published(
        layouts.karpathy,
        dict.fromkeys(KARPATHY, 'coco/dataset_coco.json'),
        images='coco/{filepath}/{filename}',
        fetch=f'{KARPATHY_FETCH}; {COCO_FETCH}',
        keep=KARPATHY,
    ),
    metrics=CIDER,
)
amend(COCO, submission=caption_submission)

add_captioning_task(
    'flickr30k',
    Published(
        layouts.karpathy,
        dict.fromkeys(('train', 'val', 'test'), 'flickr30k/dataset_flickr30k.json'),
        images='flickr30k/flickr30k-images/{filename}',
        fetch='the pictures at https://shannon.cs.illinois.edu/DenotationGraph; '
        f'{KARPATHY_FETCH.replace("coco/", "flickr30k/")}',
        keep={split: (split,) for split in ('train', 'val', 'test')},
    ),
    metrics=CIDER,
)

add_language_captioning_tasks(
    'coco35l',
    Published(
        layouts.coco_35l,
        {
            split: [f'coco35l/coco_mt_{split}.jsonl', 'coco/dataset_coco.json']
            for split in ('train', 'dev')
        },
        images='coco/{filepath}/{filename}',
        fetch='coco_mt_train.jsonl.bz2 and coco_mt_dev.jsonl.bz2 (unpacked) of '
        f'https://google.github.io/crossmodal-3600 into coco35l/; {KARPATHY_FETCH}; {COCO_FETCH}',
    ),
    COCO_35L,
)

add_language_captioning_tasks(
    'xm3600',
    Published(
        layouts.crossmodal,
        {'test': 'xm3600/captions.jsonl'},
        images='xm3600/images/{key}.jpg',
        fetch='captions.zip and images.tgz of https://google.github.io/crossmodal-3600 into '
        'xm3600/',
    ),
    XM3600,
)

NOCAPS = add_captioning_task(
    'nocaps',
    Published(
        layouts.coco_captions,
        {
            'val': 'nocaps/nocaps_val_4500_captions.json',
            'test': 'nocaps/nocaps_test_image_info.json',
        },
        images={'val': 'nocaps/validation/{file_name}', 'test': 'nocaps/test/{file_name}'},
        fetch='the json files of https://nocaps.org/download and the pictures of Open Images '
        '(validation, test) into nocaps/',
    ),
    metrics=CIDER,
)
amend(NOCAPS, submission=caption_submission)

TEXTCAPS = add_captioning_task(
    'textcaps',
    Published(
        layouts.textcaps,
        {split: f'textvqa/TextCaps_0.1_{split}.json' for split in ('train', 'val', 'test')},
        images={
            'train': 'textvqa/train_images/{image_id}.jpg',
            'val': 'textvqa/train_images/{image_id}.jpg',
            'test': 'textvqa/test_images/{image_id}.jpg',
        },
        fetch='TextCaps v0.1 and the pictures of https://textvqa.org into textvqa/',
    ),
    metrics=CIDER,
)

add_captioning_task(
    'scicap',
    Published(
        layouts.scicap,
        {
            split: [
                'scicap/List-of-Files-for-Each-Experiments/First-Sentence/No-Subfig/'
                f'{split}/file_idx.json',
                f'scicap/SciCap-Caption-All/{split}',
            ]
            for split in ('train', 'val', 'test')
        },
        images={
            split: f'scicap/SciCap-No-Subfig-Img/{split}/{{name}}'
            for split in ('train', 'val', 'test')
        },
        fetch='scicap_data.zip of https://github.com/tingyaohsu/SciCap; its content goes to '
        'scicap/',
    ),
    metrics=CIDER,
)

add_captioning_task(
    'screen2words',
    Published(
        layouts.screen2words,
        {
            split: [
                f'screen2words/split/{split}_screens.txt',
                'screen2words/screen_summaries.csv',
            ]
            for split in ('train', 'dev', 'test')
        },
        images='rico/combined/{id}.jpg',
        fetch='https://github.com/google-research-datasets/screen2words as screen2words/; '
        f'{RICO_FETCH}',
    ),
    metrics=CIDER,
)

RED = (255, 0, 0)


def draw_box(record: Record, thickness: int = 3) -> Record:
    """Draws the record's `box` onto its picture in red: WidgetCap asks about what is framed."""
    try:
        pixels = np.array(decode_image(record['images'][0]))
    except ImageError:
        return record  # the converter counts it
    height, width = pixels.shape[:2]
    top, left, bottom, right = np.round(np.multiply(record['box'], (height, width) * 2)).astype(int)
    framed = np.zeros((height, width), bool)
    framed[top:bottom, left:right] = True
    inner = slice(top + thickness, bottom - thickness), slice(left + thickness, right - thickness)
    framed[inner] = False
    pixels[framed] = RED
    return {**record, 'images': [encode_png(pixels, compress_level=1)]}


add_captioning_task(
    'widgetcap',
    Published(
        layouts.widget_captions,
        {
            split: [
                f'widget_caption/split/{split}.txt',
                'widget_caption/widget_captions.csv',
                'rico/combined',
            ]
            for split in ('train', 'dev', 'test')
        },
        images='rico/combined/{screen}.jpg',
        fetch='https://github.com/google-research-datasets/widget-caption as widget_caption/; '
        f'{RICO_FETCH}',
        transform=draw_box,
    ),
    metrics=CIDER,
)
