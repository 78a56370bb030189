"""Captions in many languages: `caption {language}`, one task a language (PaliGemma's form).

One task each, because CIDEr takes the rarity of words from the captions it scores: languages scored
together would make every word of a small language precious. The evaluation also writes the mean
over the languages, as XM3600's "average" is.
"""

from collections.abc import Sequence

import numpy as np

from vlm.data.examples import Augmentation, Pair, Record, fill
from vlm.data.sources import RecordSource
from vlm.data.tasks import MetricFn, ScoreFn, TaskSpec, add_task
from vlm.metrics.captions import cider, cider_per_example
from vlm.tasks.vqa import draw
from vlm.vocab import escape

PROMPT = 'caption {language}'
# fmt: off
COCO_35L = (
    'ar', 'bn', 'cs', 'da', 'de', 'el', 'en', 'es', 'fa', 'fi', 'fil', 'fr', 'he', 'hi', 'hr', 'hu',
    'id', 'it', 'ja', 'ko', 'mi', 'nl', 'no', 'pl', 'pt', 'ro', 'ru', 'sv', 'sw', 'te', 'th', 'tr',
    'uk', 'vi', 'zh',
)
# fmt: on
XM3600 = (*COCO_35L, 'quz')


def add_language_captioning_tasks(
    name: str,
    source: RecordSource,
    languages: Sequence[str],
    prompt: str = PROMPT,
    metrics: Sequence[MetricFn] = (cider,),
    score: ScoreFn = cider_per_example,
    augment: Augmentation | None = None,
) -> list[TaskSpec]:
    """Registers `{name}_{language}` for each language, over records with `captions` by language.

    `captions` is a dict: {'de': ['ein Hund', 'der Hund'], 'en': [...]}. One caption of the language
    is the target, all of it are references; a record without the language gives no example.
    """

    def reader(language: str):
        def read(record: Record, template: str, rng: np.random.Generator) -> list[Pair]:
            captions = record['captions'].get(language)
            if not captions:
                return []
            asked = fill(template, language=language)
            return [Pair(asked, escape(draw(captions, rng)), tuple(captions))]

        return read

    return [
        add_task(
            f'{name}_{language}',
            source,
            reader(language),
            prompt,
            metrics,
            score,
            augment=augment,
            family=name,
        )
        for language in languages
    ]
