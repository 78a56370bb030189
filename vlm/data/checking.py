"""What is wrong with a record, for a task: everything that training would skip, cut or miss."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import seqio

from vlm.boxes import BoxFormatError, checked_box
from vlm.data.examples import Pair, Record, is_blank
from vlm.data.image_files import ImageError, decode_image, is_absent
from vlm.data.pipeline import FAULTS, TEXTS, encode, tokenizers_of
from vlm.data.prompts import template
from vlm.data.tasks import TaskSpec

# Kinds of findings that are the data's fault; the others are a matter of lengths and vocabulary.
FAULTY = (
    'missing_images',
    'undecodable_images',
    'unusable_records',
    'empty_texts',
    'bad_boxes',
    'duplicate_ids',
)
SETTINGS = ('overlong_texts', 'unknown_tokens')


@dataclasses.dataclass
class Checked:
    """A record and what was found: (kind, reason) pairs, and counts of tokens."""

    record: Record
    findings: list[tuple[str, str]]
    tokens: int = 0
    cut: int = 0
    unknown: int = 0

    @property
    def usable(self) -> bool:
        """Whether nothing is wrong with the record itself."""
        return not any(kind in FAULTY for kind, _ in self.findings)


class RecordCheck:
    """Checks the records of a task or group; it may be called in many threads at once.

    Args:
      specs: the task, or the members of the group.
      features: SeqIO's output features, for their vocabularies.
      lengths: how many tokens of `inputs` and `targets` there is room for.
    """

    def __init__(
        self,
        specs: Sequence[TaskSpec],
        features: Mapping[str, seqio.Feature],
        lengths: Mapping[str, int],
    ):
        self._tokenizers, self._lengths = tokenizers_of(features), lengths
        self._readers = [(spec.read, template(spec.name, spec.prompt)) for spec in specs]

    def __call__(self, record: Record) -> Checked:
        checked = Checked(record, [*_images(record), *_boxes(record)])
        # The same choices each time: a reader may draw one of several captions.
        rng = np.random.default_rng(0)
        try:
            pairs = [p for read, prompt in self._readers for p in read(record, prompt, rng)]
        except FAULTS as error:
            checked.findings.append(('unusable_records', f'{type(error).__name__}: {error}'))
            return checked
        if not pairs:
            checked.findings.append(('unusable_records', 'there is nothing to ask about it'))
        for pair in pairs:
            self._check_texts(pair, checked)
        return checked

    def _check_texts(self, pair: Pair, checked: Checked) -> None:
        if any(is_blank(text) for text in (pair.answer, *pair.references)):
            checked.findings.append(('empty_texts', f'an answer to {pair.prompt!r:.80}'))
        ids = encode(pair, self._tokenizers)
        for name in TEXTS:
            over = max(0, len(ids[name]) - self._lengths[name])
            unknown = ids[name].count(self._tokenizers[name].unk_id)
            checked.tokens += len(ids[name])
            checked.cut += over
            checked.unknown += unknown
            if over:
                told = f'{len(ids[name])} tokens of {name}, {over} more than there is room for'
                checked.findings.append(('overlong_texts', told))
            if unknown:
                checked.findings.append(('unknown_tokens', f'{unknown} of {len(ids[name])}'))


def _images(record: Record) -> list[tuple[str, str]]:
    found = []
    for data in record['images'] or [b'']:
        try:
            decode_image(data)
        except ImageError as error:
            kind = 'missing_images' if is_absent(data) else 'undecodable_images'
            found.append((kind, str(error)))
    return found


def _boxes(record: Record) -> list[tuple[str, str]]:
    found = []
    for entry in _listed(record.get('objects')):
        try:
            checked_box(entry['box'])
        except (LookupError, TypeError, BoxFormatError) as error:
            found.append(('bad_boxes', f'{type(error).__name__}: {error}'))
    return found


def _listed(objects: Any) -> Sequence:
    return objects if isinstance(objects, list) else []
