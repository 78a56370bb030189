"""Evaluation: SeqIO's Evaluator over every task, scores with the prompt that made them."""

import dataclasses
import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from vlm.data.features import output_features
from vlm.data.prompts import check_room, template
from vlm.data.tasks import TaskSpec, prompts_of, spec_of
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
        evaluator = self._evaluator(model.FEATURE_CONVERTER_CLS, mesh)
        outputs, metrics = self._predict_all(evaluator, model, params, mesh)
        scores, unreadable, count = [], {}, 0
        predictions: list[dict[str, Any]] = []
        for task in evaluator.eval_tasks:
            spec = spec_of(task.name)
            examples = read_examples(evaluator.cached_task_datasets[task.name])
            pictures = run if is_first() else None
            rows = result_rows(spec, examples, outputs[task.name], pictures, step)
            if is_first():
                _write_rows(spec, rows, run, step)
                predictions += [{'task': task.name, **row} for row in rows]
                if log is not None:
                    log.write_samples(step, task.name, rows)
            if not all(map(is_hidden, examples)):
                scores += _score_rows(spec, metrics[task.name], len(examples), step)
            count += len(examples)
            if named := [row['id'] for row in rows if row['prediction'] is None]:
                unreadable[task.name] = named
        scores += family_rows(scores)
        if not is_first():
            return scores
        run.write_lines(run.predictions, predictions)
        run.write_json(
            run.scores,
            {
                'step': step,
                'split': self.split,
                'examples': count,
                'seconds': round(time.monotonic() - start, 1),
                'scores': scores,
                'undecodable': unreadable,
            },
        )
        if log is not None:
            log.write(step, 'eval', {f'{s["task"]}/{s["metric"]}': s['value'] for s in scores})
        return scores

    @functools.lru_cache(maxsize=1)  # noqa: B019  (one evaluation object lives as long as the run)
    def _evaluator(self, make_converter: Any, mesh: DataMesh) -> seqio.Evaluator:
        return seqio.Evaluator(
            self.mixture_or_task_name,
            feature_converter=OwnPart(make_converter(pack=False), mesh.reader),
            eval_split=self.split,
            sequence_length=dict(self.task_feature_lengths),
            num_examples=self.num_examples,
        )

    def _predict_all(
        self, evaluator: seqio.Evaluator, model: VisionTextModel, params: Any, mesh: DataMesh
    ) -> tuple[dict[str, Sequence[np.ndarray]], Mapping[str, Mapping[str, float]]]:
        """Predicted ids and metric values by task."""
        # SeqIO hands over a task's data set, not its name.
        names = {id(ds): name for name, ds in evaluator.cached_model_datasets.items()}
        total = sum(len(ds) for ds in evaluator.cached_task_datasets.values())
        done = 0
        with ProgressBar('evaluate', total) as bar:

            def advance(count: int) -> None:
                nonlocal done
                done += count
                bar.update(done, {})

            def predict(dataset: tf.data.Dataset) -> list[tuple[int, np.ndarray]]:
                labels = tuple(spec_of(names[id(dataset)]).labels)
                return list(self._predictor(model, mesh, labels)(params, dataset, advance))

            metrics, outputs = evaluator.evaluate(compute_metrics=True, predict_fn=predict)
            values = metrics.result()
        kind = seqio.metrics.ModelOutputType.PREDICTION
        return {name: output[kind] for name, output in outputs.items()}, values

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
