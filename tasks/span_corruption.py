"""Span corruption for text without images (T5, arXiv 1910.10683; PaLI masks 15 % as well).

    Thank you <extra_id_0> me to your party <extra_id_1> week .
    ->  <extra_id_0> for inviting <extra_id_1> last <extra_id_2>

Spans are of words between white space, not of vocabulary pieces as in T5, so that the same text
gives the same task with every vocabulary. A vocabulary without `<extra_id_0>`, ... spells them in
several pieces.

Every example of this package has an image; here it is one gray pixel.
"""

from collections.abc import Sequence

import numpy as np

from vlm.data.examples import Pair, Record, fill
from vlm.data.image_files import encode_png
from vlm.data.sources import RecordSource
from vlm.data.tasks import MetricFn, TaskSpec, add_task
from vlm.metrics.text import exact_match, exact_match_per_example
from vlm.vocab import escape

PROMPT = '{text}'
SENTINEL = '<extra_id_{}>'


def corrupt(
    words: Sequence[str], rng: np.random.Generator, density: float = 0.15, span: float = 3.0
) -> tuple[str, str]:
    """Returns the text with gaps, and what belongs into them, both marked by sentinels.

    Args:
      words: two at least, so that something is given and something wanted.
      rng: draws the spans.
      density: share of the words that go; one at least goes, and one stays.
      span: mean length of a gap in words.
    """
    if len(words) < 2:
        raise ValueError(f'{len(words)} words are too few to take some away')
    gone = int(np.clip(round(len(words) * density), 1, len(words) - 1))
    kept = len(words) - gone
    gaps = int(np.clip(round(gone / span), 1, min(gone, kept)))
    given, wanted, start = [], [], 0
    lengths = zip(_parts(kept, gaps, rng), _parts(gone, gaps, rng), strict=True)
    for i, (stay, go) in enumerate(lengths):
        mark = SENTINEL.format(i)
        given += [*words[start : start + stay], mark]
        wanted += [mark, *words[start + stay : start + stay + go]]
        start += stay + go
    return ' '.join(given), ' '.join([*wanted, SENTINEL.format(gaps)])


def _parts(total: int, count: int, rng: np.random.Generator) -> list[int]:
    """Splits `total` into `count` lengths of at least 1, every way equally likely."""
    cuts = np.sort(rng.choice(total - 1, size=count - 1, replace=False)) + 1
    return np.diff([0, *cuts, total]).tolist()


def with_blank_image(record: Record, rng: np.random.Generator) -> Record:
    """Gives a text record its gray pixel."""
    return {**record, 'images': [encode_png(np.full((1, 1, 3), 128, np.uint8))]}


def read(record: Record, prompt: str, rng: np.random.Generator) -> list[Pair]:
    """One pair: `text` with gaps; sentinels that the text itself quotes are left out of it."""
    words = [word for word in record['text'].split() if '<extra_id_' not in word]
    given, wanted = corrupt(words, rng)
    return [Pair(fill(prompt, text=given), escape(wanted), (wanted,))]


def add_span_corruption_task(
    name: str,
    source: RecordSource,
    prompt: str = PROMPT,
    metrics: Sequence[MetricFn] = (exact_match,),
) -> TaskSpec:
    """Registers a task over records with a `text` of two words or more; `images` may be empty."""
    return add_task(
        name, source, read, prompt, metrics, exact_match_per_example, augment=with_blank_image
    )
