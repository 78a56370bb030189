"""Detection of all objects at once: a list of boxes with labels, in the manner of Pix2Seq.

`ap_as_said` and, by the rules of LVIS, `lvis_ap_as_said` rank the boxes of an answer in the order
they are written, which gives less than the scores that the official figures are of.
"""

from vlm.data.layouts import Published
from vlm.data.layouts import regions as layouts
from vlm.metrics.average_precision import ap_as_said, lvis_ap_as_said
from vlm.metrics.detection import labelled_boxes
from vlm.tasks.benchmarks.places import COCO_2017_FETCH
from vlm.tasks.noisy_detection import add_noisy_detection_task

METRICS = (labelled_boxes, ap_as_said)

add_noisy_detection_task(
    'coco_detection',
    Published(
        layouts.detection,
        {split: f'coco/annotations/instances_{split}2017.json' for split in ('train', 'val')},
        images={split: f'coco/{split}2017/{{file_name}}' for split in ('train', 'val')},
        fetch=f'annotations_trainval2017.zip with {COCO_2017_FETCH}',
    ),
    length=100,
    metrics=METRICS,
)

add_noisy_detection_task(
    'lvis',
    Published(
        layouts.detection,
        {split: f'lvis/lvis_v1_{split}.json' for split in ('train', 'val')},
        images='coco/{place}',
        fetch='lvis_v1_*.json of https://www.lvisdataset.org/dataset into lvis/; '
        f'{COCO_2017_FETCH}',
    ),
    length=100,
    metrics=(labelled_boxes, lvis_ap_as_said),
)

add_noisy_detection_task(
    'objects365',
    Published(
        layouts.detection,
        {split: f'objects365/zhiyuan_objv2_{split}.json' for split in ('train', 'val')},
        images={split: f'objects365/{split}/{{place}}' for split in ('train', 'val')},
        fetch='Objects365 v2 of https://www.objects365.org into objects365/: train/patch0/..., '
        'val/patch0/..., zhiyuan_objv2_*.json',
    ),
    length=100,
    metrics=METRICS,
)
