"""LiT-decoder's multi-task training (2303.17376): one small decoder on a frozen encoder."""

from vlm.data.mixtures import add_mixture
from vlm.tasks import benchmarks  # noqa: F401  (registers the tasks)

add_mixture(
    'lit_decoder_multitask',
    rates=dict.fromkeys(
        (
            'imagenet',
            'sun397',
            'food101',
            'resisc45',
            'oxford_pets',
            'coco_captions',
            'flickr30k',
            'ocrvqa',
            'vqav2',
            'gqa',
        ),
        1.0,
    ),
    origin='equal: not published (LiT-decoder, 2303.17376)',
)
