"""Questions about documents and charts: the bare `{question}` -> the answer (PaliGemma's form).

InfographicVQA and ST-VQA are asked with `answer en {question}` there; give it as `prompt`.
"""

from collections.abc import Sequence

from vlm.data.examples import Augmentation
from vlm.data.sources import RecordSource
from vlm.data.tasks import MetricFn, TaskSpec, add_task
from vlm.metrics.anls import anls, anls_per_example, anls_rrc
from vlm.metrics.relaxed import relaxed_accuracy, relaxed_accuracy_per_example
from vlm.tasks.vqa import read

PROMPT = '{question}'


def add_document_qa_task(
    name: str,
    source: RecordSource,
    prompt: str = PROMPT,
    metrics: Sequence[MetricFn] = (anls, anls_rrc),
    augment: Augmentation | None = None,
) -> TaskSpec:
    """Registers questions scored by ANLS, over records that `vlm.tasks.vqa.questions_of` reads."""
    return add_task(name, source, read, prompt, metrics, anls_per_example, augment=augment)


def add_chart_qa_task(
    name: str,
    source: RecordSource,
    prompt: str = PROMPT,
    metrics: Sequence[MetricFn] = (relaxed_accuracy,),
    augment: Augmentation | None = None,
) -> TaskSpec:
    """Registers questions scored by relaxed accuracy, over the same records."""
    return add_task(
        name, source, read, prompt, metrics, relaxed_accuracy_per_example, augment=augment
    )
