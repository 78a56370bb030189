"""Web-scale pretraining tasks over your own tar shards; the papers' data (WebLI) are not public.

Below `VLM_DATA_DIR` lie `web/PART/*.tar` in WebDataset's form. Members of a row: the picture, and a
`.json` with the fields named here.

    alt_text     caption, language (en if absent)          ocr          text
    captions     caption, language: CC3M-35L               spotting     objects of label, box
    questions    question, answer, language: VQ2A          detection    objects of label, box
    segmentation objects of label, box, mask_codes         regions      caption, objects of both
    text         text, and no picture                      videos       caption; several pictures

`objects` of regions have `caption` and `box`. Boxes are relative, y before x.
"""

from vlm.data.sources import WebDataset
from vlm.data.tasks import add_group
from vlm.tasks.captioning import add_captioning_task
from vlm.tasks.detection import add_detection_task
from vlm.tasks.locca import add_aref_task, add_cap_task, add_gcap_task
from vlm.tasks.object_questions import add_object_count_task, add_object_list_task
from vlm.tasks.ocr import add_ocr_task, add_spotting_task
from vlm.tasks.question_generation import add_question_generation_task
from vlm.tasks.segmentation import add_segmentation_task
from vlm.tasks.span_corruption import add_span_corruption_task
from vlm.tasks.split_captioning import add_split_captioning_task
from vlm.tasks.video import add_video_captioning_task
from vlm.tasks.vqa import add_vqa_task


def _shards(part: str) -> WebDataset:
    return WebDataset({'train': f'web/{part}/*.tar'})


add_split_captioning_task('web_split_caption', _shards('alt_text'))
add_captioning_task('web_alt_text', _shards('alt_text'), prompt='cap {language}')
add_captioning_task('web_caption', _shards('captions'), prompt='caption {language}')
add_ocr_task('web_ocr', _shards('ocr'))
add_spotting_task('web_spotting', _shards('spotting'))
# Answers are English whatever the question's language.
add_vqa_task('web_vqa', _shards('questions'), prompt='answer {language} {question}')
add_question_generation_task('web_vqg', _shards('questions'), prompt='question {language} {answer}')
add_object_list_task('web_objects', _shards('detection'))
add_object_count_task('web_counts', _shards('detection'))
add_detection_task('web_detection', _shards('detection'))
add_segmentation_task('web_segmentation', _shards('segmentation'))
add_span_corruption_task('web_text', _shards('text'))
add_video_captioning_task('web_video', _shards('videos'), frames=4)

LOCCA = [
    add_cap_task('web_locca_cap', _shards('regions')),
    add_aref_task('web_locca_aref', _shards('regions')),
    add_gcap_task('web_locca_gcap', _shards('regions')),
]
add_group('web_locca', _shards('regions'), LOCCA)
