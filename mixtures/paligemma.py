"""PaliGemma's pretraining (2407.07726, section 3.2) over the `web_...` tasks."""

from vlm.data.mixtures import add_mixture
from vlm.tasks import web  # noqa: F401  (registers the tasks)

STAGE1 = (
    'web_alt_text',
    'web_caption',
    'web_ocr',
    'web_vqa',
    'web_vqg',
    'web_objects',
    'web_counts',
    'web_detection',
    'web_segmentation',
    'web_locca_gcap',
)
# What more pixels are for.
RESOLVED = ('web_ocr', 'web_detection', 'web_segmentation')

add_mixture(
    'paligemma_stage1',
    rates=dict.fromkeys(STAGE1, 1.0),
    origin='equal: not published (PaliGemma, 2407.07726); 224 px, 128 text tokens',
)
add_mixture(
    'paligemma_stage2',
    rates={task: 3.0 if task in RESOLVED else 1.0 for task in STAGE1},
    origin='our guess: PaliGemma (2407.07726) says that OCR, detection and segmentation weigh '
    'more, not by how much; 448, then 896 px, 512 text tokens',
)
