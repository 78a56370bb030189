"""The demo: question answering, captions, LocCa, OCR, detection and counting in one model."""

import seqio

from vlm.tasks import digits, easy_vqa  # noqa: F401  (registers the tasks)

# Groups ask everything they know about an image at once, so a rate is a share of images.
seqio.MixtureRegistry.add(
    'demo',
    [('easy_vqa_all', 0.39), ('digits_strip_all', 0.25), ('digits_scattered_all', 0.36)],
)

# What the demo is evaluated on: every task by itself, on images it was not trained on. Spotting in
# strips, whose answers take longer to write than all others, and reading scattered digits are there
# for the sake of reading strips and of detecting.
seqio.MixtureRegistry.add(
    'demo_eval',
    [
        'easy_vqa',
        'easy_vqa_caption',
        'easy_vqa_locca_cap',
        'easy_vqa_locca_aref',
        'easy_vqa_locca_gcap',
        'digits_ocr',
        'digits_detect',
        'digits_count',
    ],
    default_rate=1.0,
)
