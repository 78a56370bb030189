"""Raw or generated captions: web texts that fit their picture stay, others are replaced."""

from vlm.data.examples import Record


def prefer_synthetic(
    record: Record,
    text: str = 'caption',
    generated: str = 'synthetic_caption',
    score: str = 'score',
    threshold: float = 0.5,
) -> Record:
    """A `transform` of sources: keeps `text` if `score` is at least `threshold`, else `generated`.

    The arguments after the first are names of fields, but for `threshold`. The record's `text`
    field holds what was chosen. Mixing raw and generated captions by quality is usual where both
    are at hand (e.g. AIMv2, arXiv 2411.14402, trains on both).

    Raises:
      ValueError: the score is not a number (NaN included).
      KeyError: the record has no score, or not the text that is chosen.
    """
    value = record[score]
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise ValueError(f'{score} is {value!r}, not a number')
    return {**record, text: record[text if value >= threshold else generated]}
