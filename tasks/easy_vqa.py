"""easy-VQA (PyPI package `easy-vqa`): 5,000 pictures of one coloured shape, official split."""

from vlm.boxes import BoxCodec
from vlm.data import easy_vqa
from vlm.data.sources import RecordSource
from vlm.data.tasks import add_group
from vlm.metrics.text import exact_match, exact_match_per_example
from vlm.tasks.augment import zoom_and_flip
from vlm.tasks.captioning import add_captioning_task
from vlm.tasks.locca import add_aref_task, add_cap_task, add_gcap_task
from vlm.tasks.vqa import add_vqa_task

# What its pictures show was drawn at random, one after the other.
SOURCE = RecordSource(easy_vqa.read_images, {'train': 4000, 'test': 1000}, random_order=True)
TRAIN = RecordSource(easy_vqa.read_images, {'train': 4000}, random_order=True)

# One level a pixel.
CODEC = BoxCodec(levels=65)

MEMBERS = [
    add_vqa_task('easy_vqa', SOURCE),
    add_captioning_task(
        'easy_vqa_caption', SOURCE, metrics=(exact_match,), score=exact_match_per_example
    ),
    add_cap_task('easy_vqa_locca_cap', SOURCE),
    add_aref_task('easy_vqa_locca_aref', SOURCE, codec=CODEC),
    add_gcap_task('easy_vqa_locca_gcap', SOURCE, codec=CODEC),
]

# All questions of an image in one example: the image is encoded once.
add_group('easy_vqa_all', TRAIN, MEMBERS, augment=zoom_and_flip)
