"""The vision towers of SigLIP (2303.15343) and SigLIP 2 (2502.14786) of Hugging Face.

SigLIP 2's checkpoints of one resolution have SigLIP's layout. Those of NaFlex (`siglip2`) embed
patches by a linear layer and keep positions of a square grid, which are resampled to that of the
image as the reference does, bilinearly and antialiased.
"""

from collections.abc import Mapping
from typing import Any

from vlm.weights.families.hf_common import activation, patch_rows
from vlm.weights.source import Source
from vlm.weights.table import Family, Row, convolution, linear

LAYER = 'encoder.layers.{i}.'
# CLIP's blocks have the same names.
BLOCKS = [
    # ours                                     theirs
    Row('vision/layers_{i}/attention_norm/scale', f'{LAYER}layer_norm1.weight'),
    Row('vision/layers_{i}/attention_norm/bias', f'{LAYER}layer_norm1.bias'),
    Row('vision/layers_{i}/attention/query/kernel', f'{LAYER}self_attn.q_proj.weight', linear),
    Row('vision/layers_{i}/attention/query/bias', f'{LAYER}self_attn.q_proj.bias'),
    Row('vision/layers_{i}/attention/key/kernel', f'{LAYER}self_attn.k_proj.weight', linear),
    Row('vision/layers_{i}/attention/key/bias', f'{LAYER}self_attn.k_proj.bias'),
    Row('vision/layers_{i}/attention/value/kernel', f'{LAYER}self_attn.v_proj.weight', linear),
    Row('vision/layers_{i}/attention/value/bias', f'{LAYER}self_attn.v_proj.bias'),
    Row('vision/layers_{i}/attention/out/kernel', f'{LAYER}self_attn.out_proj.weight', linear),
    Row('vision/layers_{i}/attention/out/bias', f'{LAYER}self_attn.out_proj.bias'),
    Row('vision/layers_{i}/mlp_norm/scale', f'{LAYER}layer_norm2.weight'),
    Row('vision/layers_{i}/mlp_norm/bias', f'{LAYER}layer_norm2.bias'),
    Row('vision/layers_{i}/mlp/wi/kernel', f'{LAYER}mlp.fc1.weight', linear),
    Row('vision/layers_{i}/mlp/wi/bias', f'{LAYER}mlp.fc1.bias'),
    Row('vision/layers_{i}/mlp/wo/kernel', f'{LAYER}mlp.fc2.weight', linear),
    Row('vision/layers_{i}/mlp/wo/bias', f'{LAYER}mlp.fc2.bias'),
    Row('vision/norm/scale', 'post_layernorm.weight'),
    Row('vision/norm/bias', 'post_layernorm.bias'),
]
POSITIONS = Row('vision/position_embedding', 'embeddings.position_embedding.weight')


def family(config: Mapping[str, Any], source: Source) -> Family:
    """How a checkpoint of this family is read: a tower, or a whole model of which it is taken."""
    sizes = config.get('vision_config', config)
    renames = [(r'^vision_model\.', '')]
    return Family(
        title='Hugging Face SigLIP',
        rows=vision_rows(config, source.renamed(renames)),
        vision=vision_settings(sizes),
        renames=renames,
        unused=[r'head\..*', r'text_model\..*', r'logit_(scale|bias)', r'.*\.position_ids'],
    )


def vision_rows(config: Mapping[str, Any], source: Source, prefix: str = '') -> list[Row]:
    """The table of a tower whose tensors have a prefix (canonical names)."""
    patches = f'{prefix}embeddings.patch_embedding'
    flat = len(source.shapes.get(f'{patches}.weight', ())) == 2
    size = config.get('vision_config', config).get('patch_size', 16)

    def of_rows(weight: Any) -> Any:
        # NaFlex reads patches as rows of [height, width, channel].
        return weight.T.reshape(size, size, -1, weight.shape[0])

    to_kernel = of_rows if flat else convolution
    rows = patch_rows(f'{patches}.weight', f'{patches}.bias', config, to_kernel)
    return rows + [row._replace(theirs=prefix + row.theirs) for row in (POSITIONS, *BLOCKS)]


def vision_settings(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """What `VitConfig` must be for a `vision_config`; files leave out what is SigLIP-B/16's."""
    return {
        'width': sizes.get('hidden_size', 768),
        'num_layers': sizes.get('num_hidden_layers', 12),
        'num_heads': sizes.get('num_attention_heads', 12),
        'mlp_dim': sizes.get('intermediate_size', 3072),
        'activation': activation(sizes.get('hidden_act', 'gelu_pytorch_tanh')),
        'norm': 'layer_norm',
        'norm_epsilon': sizes.get('layer_norm_eps', 1e-6),
        'qkv_bias': True,
        'use_bias': True,
        'positions': 'learned',
        'pre_norm': False,
        'parallel_blocks': False,
        'qk_norm': False,
        'num_registers': 0,
    }
