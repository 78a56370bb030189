"""PaliGemma (2407.07726) and PaliGemma 2 (2412.03555) of Hugging Face: SigLIP, a line, Gemma."""

from collections.abc import Mapping
from typing import Any

from vlm.weights.families import hf_gemma, hf_siglip
from vlm.weights.source import Source
from vlm.weights.table import Family, Row, linear, under

CONNECTOR = [
    # ours                                     theirs
    Row('connector/projection/kernel', 'multi_modal_projector.linear.weight', linear),
    Row('connector/projection/bias', 'multi_modal_projector.linear.bias'),
]
# The hub's files and those of later versions of the library nest the same parts differently.
RENAMES = [
    (r'^(model\.)?vision_tower\.(vision_model\.)?', 'vision_tower.'),
    (r'^(language_model\.model|model\.language_model)\.', 'language_model.model.'),
    (r'^model\.multi_modal_projector\.', 'multi_modal_projector.'),
]


def family(config: Mapping[str, Any], source: Source) -> Family:
    """How a checkpoint of this family is read."""
    text, vision = config['text_config'], config['vision_config']
    renamed = source.renamed(RENAMES)
    return Family(
        title='Hugging Face PaliGemma',
        rows=[
            *hf_siglip.vision_rows(config, renamed, 'vision_tower.'),
            *CONNECTOR,
            *under('', 'language_model.', hf_gemma.rows(text)),
        ],
        vision=hf_siglip.vision_settings(vision),
        text=hf_gemma.settings(text),
        renames=RENAMES,
        unused=[
            r'(language_model\.)?lm_head\.weight',
            r'vision_tower\.head\..*',
            r'.*\.position_ids',
        ],
    )
