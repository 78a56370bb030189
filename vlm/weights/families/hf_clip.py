"""The vision tower of CLIP (2103.00020) of Hugging Face.

It has a class token, a norm before the blocks, no bias of the patch embedding and pixel statistics
of its own, which are folded into that embedding. Its last norm is that of the class token in the
reference; here all tokens pass through it.
"""

from collections.abc import Mapping
from typing import Any

from vlm.weights.families.hf_common import activation, class_token, patch_rows, without_first_row
from vlm.weights.families.hf_siglip import BLOCKS
from vlm.weights.source import Source
from vlm.weights.table import Family, Row

# Of the pictures it was trained on, red, green and blue in [0, 1].
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

TABLE = 'embeddings.position_embedding.weight'
ROWS = [
    # ours                                     theirs
    Row('vision/position_embedding', TABLE, without_first_row),
    Row('vision/registers', ('embeddings.class_embedding', TABLE), class_token),
    Row('vision/pre_norm/scale', 'pre_layrnorm.weight'),  # spelt so in the reference
    Row('vision/pre_norm/bias', 'pre_layrnorm.bias'),
    *BLOCKS,
]


def family(config: Mapping[str, Any], source: Source) -> Family:
    """How a checkpoint of this family is read: a tower, or a whole model of which it is taken."""
    sizes = config.get('vision_config', config)
    patches = 'embeddings.patch_embedding.weight'
    return Family(
        title='Hugging Face CLIP',
        rows=[*patch_rows(patches, None, config, mean=MEAN, std=STD), *ROWS],
        vision={
            'width': sizes.get('hidden_size', 768),
            'num_layers': sizes.get('num_hidden_layers', 12),
            'num_heads': sizes.get('num_attention_heads', 12),
            'mlp_dim': sizes.get('intermediate_size', 3072),
            'activation': activation(sizes.get('hidden_act', 'quick_gelu')),
            'norm': 'layer_norm',
            'norm_epsilon': sizes.get('layer_norm_eps', 1e-5),
            'qkv_bias': True,
            'use_bias': True,
            'positions': 'learned',
            'pre_norm': True,
            'parallel_blocks': False,
            'qk_norm': False,
            'num_registers': 1,  # the class token
        },
        renames=[(r'^vision_model\.', '')],
        unused=[
            r'text_model\..*',
            r'(visual|text)_projection\.weight',
            r'logit_scale',
            r'.*\.?position_ids',
        ],
    )
