"""Referring expressions and described regions: the bare expression -> its box."""

from vlm.data.layouts import Published
from vlm.data.layouts import regions as layouts
from vlm.tasks.benchmarks.places import COCO_FETCH, VG_FETCH
from vlm.tasks.locca import add_gcap_task
from vlm.tasks.referring import add_referring_task

REFER_FETCH = (
    'refcoco.zip, refcoco+.zip and refcocog.zip of https://github.com/lichengunc/refer into '
    f'refcoco/; {COCO_FETCH}'
)
UNC_SPLITS = ('train', 'val', 'testA', 'testB')
REFS = {
    'refcoco': 'refcoco/refcoco/refs(unc).p',
    'refcocoplus': 'refcoco/refcoco+/refs(unc).p',
    'refcocog': 'refcoco/refcocog/refs(umd).p',
}
# All three are of the same annotations of COCO's train2014.
INSTANCES = 'refcoco/refcocog/instances.json'

for name, splits in (
    ('refcoco', UNC_SPLITS),
    ('refcocoplus', UNC_SPLITS),
    ('refcocog', ('train', 'val', 'test')),
):
    add_referring_task(
        name,
        Published(
            layouts.references,
            dict.fromkeys(splits, [REFS[name], REFS[name].rpartition('/')[0] + '/instances.json']),
            images='coco/train2014/{file_name}',
            fetch=REFER_FETCH,
            keep={split: (split,) for split in splits},
            box_format='xywh pixels',
        ),
    )

add_referring_task(
    'refcoco_combined',
    Published(
        layouts.combined_references,
        dict.fromkeys(('train', 'val', 'test'), [*REFS.values(), INSTANCES]),
        images='coco/train2014/{file_name}',
        fetch=REFER_FETCH,
        keep={'train': ('train',), 'val': ('val',), 'test': ('test', 'testA', 'testB')},
        box_format='xywh pixels',
    ),
)

VISUAL_GENOME = Published(
    layouts.visual_genome,
    {
        'train': [
            'visual_genome/region_descriptions.json',
            'visual_genome/image_data.json',
        ]
    },
    images='visual_genome/{place}',
    fetch='region_descriptions.json.zip (v1.2) and image_data.json.zip into visual_genome/, with '
    f'VG_100K and VG_100K_2 of {VG_FETCH}',
    box_format='xywh pixels',
)
add_referring_task('visual_genome_refer', VISUAL_GENOME)
add_gcap_task('visual_genome_gcap', VISUAL_GENOME)
