"""Declaring tasks: one call, one row; SeqIO's registry holds them, this module what SeqIO cannot.

`TaskSpec` keeps a task's reader, prompt and metrics by name, so that a group of tasks over the same
images can be declared from its members and results can say which prompt made them.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import seqio

from vlm.boxes import BoxCodec, PartlyMarked
from vlm.data.examples import Augmentation, Reader
from vlm.data.features import output_features
from vlm.data.pipeline import read_examples
from vlm.data.sources import RecordSource
from vlm.errors import unknown_name
from vlm.vocab import unescape

# (targets, predictions) -> {metric: value}, see vlm.metrics
MetricFn = Callable[[Sequence[Any], Sequence[str]], Mapping[str, float]]
# rows of a prediction file -> what an evaluation server takes, see vlm.metrics.submissions
SubmissionFn = Callable[[Sequence[Mapping[str, Any]]], Any]
# (targets, predictions) -> how right each prediction is, in [0, 1] (CIDEr: in [0, 10])
ScoreFn = Callable[[Sequence[Any], Sequence[str]], Sequence[float]]


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """A task as declared; evaluation averages the scores of tasks of one `family`, if any.

    `submission` turns its predictions into the file that the benchmark's server takes. Where there
    are `labels`, the likeliest of them is the answer; nothing is decoded.
    """

    name: str
    read: Reader
    prompt: str
    metrics: tuple[MetricFn, ...] = ()
    score: ScoreFn | None = None
    codec: BoxCodec | None = None
    family: str = ''
    submission: SubmissionFn | None = None
    labels: tuple[str, ...] = ()


_SPECS: dict[str, TaskSpec] = {}
_GROUPS: dict[str, tuple[TaskSpec, ...]] = {}


def add_task(
    name: str,
    source: RecordSource,
    read: Reader,
    prompt: str,
    metrics: Sequence[MetricFn] = (),
    score: ScoreFn | None = None,
    *,
    codec: BoxCodec | None = None,
    augment: Augmentation | None = None,
    family: str = '',
    labels: Sequence[str] = (),
) -> TaskSpec:
    """Registers a task with one pair an example.

    Args:
      name: of the task, unique.
      source: where the records come from.
      read: makes (prompt, answer) pairs of a record.
      prompt: the default prompt template; gin's PROMPTS replaces it.
      metrics: called with the references (or boxes) and the predicted texts of a whole split.
      score: scores single examples, for the report.
      codec: reads the boxes in a prediction, where answers hold boxes.
      augment: moves the images and boxes of a record; for sources with a train split only.
      family: a name for several tasks whose mean score is of interest, such as captions in several
        languages.
      labels: all answers there are, as plain text: an evaluation then takes the likeliest one
        (CapPa's way of classifying, 2306.07915) in place of decoding.
    """
    spec = TaskSpec(name, read, prompt, tuple(metrics), score, codec, family, labels=tuple(labels))
    _register(name, source, [spec], augment, spec.metrics)
    _SPECS[name] = spec
    return spec


def add_group(
    name: str,
    source: RecordSource,
    members: Sequence[TaskSpec],
    augment: Augmentation | None = None,
) -> None:
    """Registers a training task that asks all its members' questions of an image in one example.

    The image is encoded once for as many pairs as fit the lengths of `inputs` and `targets`, drawn
    anew each time. It has no metrics: evaluate the members.
    """
    _register(name, source, members, augment, (), group=True)
    _GROUPS[name] = tuple(members)


def amend(
    spec: TaskSpec, *, family: str | None = None, submission: SubmissionFn | None = None
) -> TaskSpec:
    """Gives a registered task what its family's `add_..._task` does not ask for; returns it."""
    family = spec.family if family is None else family
    amended = dataclasses.replace(spec, family=family, submission=submission or spec.submission)
    _SPECS[spec.name] = amended
    return amended


def spec_of(name: str) -> TaskSpec:
    """The declaration of a task; raises `UserError` for a name that is none (a mixture, say)."""
    if name not in _SPECS:
        raise unknown_name('task', name, _SPECS)
    return _SPECS[name]


def asked_of(name: str) -> tuple[TaskSpec, ...]:
    """What a task (itself) or a group (its members) asks; `UserError` for another name."""
    return _GROUPS[name] if name in _GROUPS else (spec_of(name),)


def prompts_of(names: Iterable[str]) -> dict[str, str]:
    """The declared templates of these tasks and of the members of these groups, by task.

    Tasks that SeqIO knows and we do not are left out.
    """
    known = [name for name in names if name in _GROUPS or name in _SPECS]
    return {spec.name: spec.prompt for name in known for spec in asked_of(name)}


def forget(name: str) -> None:
    """Takes back what `add_task` or `add_group` registered."""
    seqio.TaskRegistry.remove(name)
    _SPECS.pop(name, None)
    _GROUPS.pop(name, None)


def declared() -> list[str]:
    """Names of all tasks declared with `add_task`."""
    return sorted(_SPECS)


def _register(
    name: str,
    source: RecordSource,
    specs: Sequence[TaskSpec],
    augment: Augmentation | None,
    metrics: Sequence[MetricFn],
    group: bool = False,
) -> None:
    parts = [(spec.name, spec.read, spec.prompt) for spec in specs]
    seqio.TaskRegistry.add(
        name,
        source=source,
        preprocessors=[read_examples(parts, augment, group, name)],
        output_features=output_features(),
        postprocess_fn=postprocess,
        metric_fns=list(metrics),
        shuffle_buffer_size=(
            None if source.performs_internal_shuffling else seqio.SHUFFLE_BUFFER_SIZE
        ),
    )


def postprocess(text: str, example: Mapping[str, Any], is_target: bool, **unused: Any) -> Any:
    """What a metric compares: references or boxes for a target, plain text for a prediction."""
    if not is_target:
        return unescape(text).strip() if '<' in text else text.strip()
    meta = json.loads(example['meta'])
    if 'objects' in meta:
        objects = [(label, box) for box, label in meta['objects']]
        return PartlyMarked(objects, **meta['marking']) if 'marking' in meta else objects
    return meta['references']
