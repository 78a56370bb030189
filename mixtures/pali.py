"""PaLI's pretraining mixture (2209.06794), and PaLI-X's two stages (2305.18565), over `web_...`."""

from vlm.data.mixtures import add_mixture
from vlm.tasks import web  # noqa: F401  (registers the tasks)

# Millions of examples. The object-aware questions are of two kinds here.
add_mixture(
    'pali_pretrain',
    examples={
        'web_text': 100,
        'web_split_caption': 1000,
        'web_ocr': 100,
        'web_caption': 100,
        'web_vqa': 100,
        'web_vqg': 100,
        'web_objects': 25,
        'web_counts': 25,
        'web_detection': 16,
    },
    origin='millions of examples; the total, 1,566, is the one of PaLI (2209.06794), the parts '
    'were not checked against its table',
)

# PaLI-X also has episodes of several images, screenshot parsing and image tokens.
add_mixture(
    'pali_x_stage1',
    rates=dict.fromkeys(
        (
            'web_text',
            'web_split_caption',
            'web_caption',
            'web_ocr',
            'web_vqa',
            'web_vqg',
            'web_objects',
            'web_video',
            'web_detection',
        ),
        1.0,
    ),
    origin='equal: not published (PaLI-X, 2305.18565); freeze the vision encoder, 224 px',
)
add_mixture(
    'pali_x_stage2',
    rates={'web_ocr': 1.0, 'web_detection': 1.0},
    origin='equal: not published (PaLI-X, 2305.18565: text and detection alone); 448 to 756 px',
)
