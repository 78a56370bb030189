"""From a record to questions and answers: plain Python, no TensorFlow.

A *record* is one image (or one list of frames) with what is known about it, as a dict:
`{'id': 'coco/000012', 'images': [bytes, ...], **fields}`. A *reader* turns it into `Pair`s.
"""

import dataclasses
import functools
import unicodedata
from collections.abc import Callable, Mapping
from string import Formatter
from typing import Any

import numpy as np

from vlm.boxes import BoxLike
from vlm.errors import UserError, unknown_name
from vlm.vocab import escape

Record = Mapping[str, Any]

# The answer to a question of a test split whose answers only an evaluation server knows. Such
# questions can be asked and their answers sent in; scores here mean nothing and are left out.
HIDDEN = '<not published>'

# (box [y_min, x_min, y_max, x_max] in [0, 1], label)
LabelledBox = tuple[BoxLike, str]


@dataclasses.dataclass(frozen=True)
class Pair:
    """One question about an image and its answer.

    Attributes:
      prompt: what is asked, in the vocabulary's text form (user text already escaped).
      answer: the training target, likewise.
      references: every answer that counts as right, as plain text; the answer if empty.
      objects: what box metrics compare with, in place of `references`.
      marking: of which classes the objects are marked, if not of all: what `vlm.boxes.PartlyMarked`
        holds beside them.
    """

    prompt: str
    answer: str
    references: tuple[str, ...] = ()
    objects: tuple[LabelledBox, ...] | None = None
    marking: Mapping[str, Any] | None = None

    def to_meta(self, example_id: str) -> dict[str, Any]:
        """The JSON-able side of an example that metrics and reports read."""
        meta = {'id': example_id, 'prompt': self.prompt}
        if self.objects is not None:
            meta['objects'] = [[[float(x) for x in box], label] for box, label in self.objects]
            if self.marking is not None:
                meta['marking'] = dict(self.marking)
        else:
            meta['references'] = list(self.references or (self.answer,))
        return meta


# (record, prompt template, random generator) -> pairs. The generator is for choices that may differ
# from epoch to epoch (which labels to ask for); a reader of an evaluation split gets a fixed one.
Reader = Callable[[Record, str, np.random.Generator], list[Pair]]
# (record, random generator) -> record with its images and boxes moved alike.
Augmentation = Callable[[Record, np.random.Generator], Record]


def is_blank(text: str) -> bool:
    """Whether a text shows nothing: white space, control and format characters (zero width)."""
    return all(char.isspace() or unicodedata.category(char) in ('Cc', 'Cf') for char in text)


@functools.lru_cache
def template_fields(template: str) -> frozenset[str]:
    """Names in braces: 'answer en {question}' -> {'question'}; `UserError` if they do not match."""
    try:
        return frozenset(name for _, name, _, _ in Formatter().parse(template) if name)
    except ValueError as error:
        raise _unreadable(template, error) from error


def fill(template: str, **values: Any) -> str:
    """Fills a prompt template with user text, escaped so that it cannot forge location tokens.

    Raises:
      UserError: the template asks for a field the reader does not give, or cannot be read.
    """
    for name in template_fields(template):
        if name not in values:
            raise unknown_name('field', name, values, f'prompt template {template!r}')
    try:
        return template.format(**{k: escape(str(v)) for k, v in values.items()})
    except (ValueError, LookupError) as error:
        raise _unreadable(template, error) from error


def _unreadable(template: str, error: Exception) -> UserError:
    return UserError(f'the prompt template {template!r} cannot be read: {error}.')
