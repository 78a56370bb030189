"""Evaluation: SeqIO's Evaluator over every task, scores with the prompt that made them."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from vlm.data.features import output_features
from vlm.data.prompts import check_room, template
from vlm.data.tasks import TaskSpec, prompts_of, spec_of
from vlm.data.vocabularies import one_vocabulary_path
from vlm.decoding import DecodingConfig
from vlm.errors import UserError, unknown_name
from vlm.metrics.definitions import definition_of
from vlm.model import VisionTextModel
from vlm.runner.datasets import find_task_or_mixture
from vlm.runner.families import family_rows
from vlm.runner.logs import MetricsLog
from vlm.runner.mesh import DataMesh
from vlm.runner.predict import BatchPredictor, OwnPart, label_ids, unanswered_ids
from vlm.runner.processes import is_first
from vlm.runner.progress import ProgressBar
from vlm.runner.results import (
    is_hidden,
    read_examples,
    result_rows,
    submission_path,
    write_submission,
)
from vlm.runner.run_dir import RunDir

Scores = list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class TaskResult:
    """Scores of a task, and a row for each of its examples."""

    task: str
    scores: Scores
    rows: list[dict[str, Any]]

    @property
    def unreadable(self) -> list[str]:
        """The ids of examples without a readable image."""
        return [row['id'] for row in self.rows if row['prediction'] is None]


@dataclasses.dataclass
class Evaluation:
    """What to evaluate on.

    Attributes:
      mixture_or_task_name: a task or a mixture of tasks that have metrics.
      task_feature_lengths: of single examples; training may use longer ones for groups.
      split: e.g. 'test'.
      batch_size: examples at once.
      num_examples: the first so many of each task; None for all.
      decoding: how answers are chosen.
    """

    mixture_or_task_name: str
    task_feature_lengths: Mapping[str, int]
    split: str = 'test'
    batch_size: int = 128
    num_examples: int | None = None
    decoding: DecodingConfig = DecodingConfig()

    def check(self) -> None:
        """Raises `UserError` for names and splits that do not exist."""
        provider = find_task_or_mixture(self.mixture_or_task_name)
        tasks = seqio.get_subtasks(provider)
        for task in tasks:
            if self.split not in task.splits:
                raise unknown_name('split', self.split, task.splits, f'EVAL_SPLIT, of {task.name}')
        if not any(task.metric_fns for task in tasks):
            raise UserError(f'{self.mixture_or_task_name} has no task with a metric to evaluate.')
        prompts = prompts_of(self.task_names())
        room = self.task_feature_lengths['inputs']
        check_room(prompts, room, "EVAL_TASK_FEATURE_LENGTHS['inputs']")

    def task_names(self) -> list[str]:
        """The tasks that are evaluated, by name."""
        return [t.name for t in seqio.get_subtasks(find_task_or_mixture(self.mixture_or_task_name))]

    def run(
        self,
        model: VisionTextModel,
        params: Any,
        run: RunDir,
        log: MetricsLog | None,
        step: int,
        mesh: DataMesh,
    ) -> Scores:
        """Evaluates every task; writes scores, predictions and log, returns the scores.

        Each process answers its part of the examples, each knows all answers; the first writes.
        """
        start = time.monotonic()
        with one_vocabulary_path(), ThreadPoolExecutor(1, 'scores') as thread:
            # Answers become texts and scores while the device answers for the next task.
            waiting = [
                thread.submit(_result, evaluator, *answered, run, log, step)
                for evaluator, *answered in self._answered(model, params, mesh)
            ]
            results = [future.result() for future in waiting]
        scores = [score for result in results for score in result.scores]
        scores += family_rows(scores)
        if not is_first():
            return scores
        run.write_lines(
            run.predictions, [{'task': r.task, **row} for r in results for row in r.rows]
        )
        run.write_json(
            run.scores,
            {
                'step': step,
                'split': self.split,
                'examples': sum(len(result.rows) for result in results),
                'seconds': round(time.monotonic() - start, 1),
                'scores': scores,
                'undecodable': {r.task: names for r in results if (names := r.unreadable)},
            },
        )
        if log is not None:
            log.write(step, 'eval', {f'{s["task"]}/{s["metric"]}': s['value'] for s in scores})
        return scores

    @functools.lru_cache(maxsize=1)  # noqa: B019  (one evaluation object lives as long as the run)
    def _evaluators(self, make_converter: Any, mesh: DataMesh) -> list[Future]:
        """SeqIO's, one a task: each is scored as soon as its own answers are there.

        An evaluator reads its examples when it is made. That is done in a thread, one after the
        other, while the device answers for those that are there.
        """
        thread = ThreadPoolExecutor(1, 'examples')
        evaluators = [
            thread.submit(
                seqio.Evaluator,
                name,
                feature_converter=OwnPart(make_converter(pack=False), mesh.reader),
                eval_split=self.split,
                sequence_length=dict(self.task_feature_lengths),
                num_examples=self.num_examples,
            )
            for name in self.task_names()
            if seqio.get_mixture_or_task(name).metric_fns
        ]
        thread.shutdown(wait=False)
        return evaluators

    def _answered(
        self, model: VisionTextModel, params: Any, mesh: DataMesh
    ) -> Iterator[tuple[seqio.Evaluator, Future, Sequence[np.ndarray]]]:
        """Each task's evaluator, its metric values in the making, and its answers' ids."""
        evaluators = self._evaluators(model.FEATURE_CONVERTER_CLS, mesh)
        done = 0
        with ProgressBar('evaluate', None) as bar, _cancelled_on_error(evaluators):

            def advance(count: int) -> None:
                nonlocal done
                done += count
                unread = sum(not future.done() for future in evaluators)
                if unread:
                    bar.update(done, {'tasks to be read': float(unread)})
                else:
                    bar.update(done, {}, total=_number_of_examples(evaluators))

            for future in evaluators:
                evaluator = future.result()
                (task,) = evaluator.eval_tasks
                predictor = self._predictor(model, mesh, tuple(spec_of(task.name).labels))

                def predict(
                    dataset: tf.data.Dataset, predictor: BatchPredictor = predictor
                ) -> list[tuple[int, np.ndarray]]:
                    return list(predictor(params, dataset, advance))

                metrics, outputs = evaluator.evaluate(compute_metrics=True, predict_fn=predict)
                kind = seqio.metrics.ModelOutputType.PREDICTION
                yield evaluator, metrics, outputs[task.name][kind]

    # One for the whole run, so that its program is compiled at the first evaluation only; tasks
    # that choose among labels have one each.
    @functools.cache  # noqa: B019
    def _predictor(
        self, model: VisionTextModel, mesh: DataMesh, labels: tuple[str, ...]
    ) -> BatchPredictor:
        vocabulary = output_features()['targets'].vocabulary
        return BatchPredictor(
            model,
            mesh,
            self.batch_size,
            self.task_feature_lengths['targets'],
            unanswered_ids(vocabulary),
            self.decoding,
            label_ids(labels, vocabulary),
        )

    def __hash__(self) -> int:
        return id(self)


@contextlib.contextmanager
def _cancelled_on_error(futures: Sequence[Future]) -> Iterator[None]:
    """Within it an error also ends what nobody will wait for any more."""
    try:
        yield
    except BaseException:
        for future in futures:
            future.cancel()
        raise


def _number_of_examples(evaluators: Sequence[Future]) -> int:
    """Of all of them, which have been read."""
    read = [future.result() for future in evaluators]
    return sum(len(ds) for each in read for ds in each.cached_task_datasets.values())


def _result(
    evaluator: seqio.Evaluator,
    metrics: Future,
    answers: Sequence[np.ndarray],
    run: RunDir,
    log: MetricsLog | None,
    step: int,
) -> TaskResult:
    """What became of a task; the first process writes it down, with pictures."""
    (task,) = evaluator.eval_tasks
    spec = spec_of(task.name)
    examples = read_examples(evaluator.cached_task_datasets[task.name])
    rows = result_rows(spec, examples, answers, run if is_first() else None, step)
    if is_first():
        _write_rows(spec, rows, run, step)
        if log is not None:
            log.write_samples(step, task.name, rows)
    values = metrics.result()[task.name]
    hidden = all(map(is_hidden, examples))
    scores = [] if hidden else list(_score_rows(spec, values, len(examples), step))
    return TaskResult(task.name, scores, rows)


def _write_rows(spec: TaskSpec, rows: list[dict[str, Any]], run: RunDir, step: int) -> None:
    target = run.inference / f'{spec.name}-{step:06d}.jsonl'
    run.write_lines(target, rows)
    write_submission(spec, rows, run, submission_path(target))


def _score_rows(
    spec: TaskSpec, values: Mapping[str, Any], count: int, step: int
) -> Iterator[dict[str, Any]]:
    for metric, value in values.items():
        definition = definition_of(metric)
        yield {
            'task': spec.name,
            'metric': metric,
            'value': int(value) if metric == 'unreadable_boxes' else float(value),
            'n': count,
            'prompt': template(spec.name, spec.prompt),
            'version': definition.version,
            'definition': definition.definition,
            'step': step,
        }
