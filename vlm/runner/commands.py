"""`vlm train`, `vlm eval` and `vlm infer`, as a person sees them."""

import contextlib
import signal
import time
from pathlib import Path

import jax
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vlm.data.bad_data import bad_data
from vlm.data.features import output_features
from vlm.data.tasks import spec_of
from vlm.data.vocabularies import one_vocabulary_path
from vlm.decoding import DecodingConfig
from vlm.errors import UserError
from vlm.nn.stacks import to_layout
from vlm.runner import pretrained
from vlm.runner.checkpoints import latest_step, restore_params, step_named
from vlm.runner.config import GinFlags
from vlm.runner.datasets import DatasetConfig
from vlm.runner.dry_run import show_plan, tell_undivided
from vlm.runner.evaluate import Scores
from vlm.runner.initial import summary_rows
from vlm.runner.logs import MetricsLog
from vlm.runner.mesh import DataMesh
from vlm.runner.placement import place_parameters
from vlm.runner.predict import BatchPredictor, label_ids, unanswered_ids
from vlm.runner.processes import NoLog, is_first
from vlm.runner.progress import ProgressBar, clock
from vlm.runner.quiet import quiet_libraries
from vlm.runner.report import write_report
from vlm.runner.results import (
    read_examples,
    result_rows,
    submission_path,
    write_submission,
)
from vlm.runner.run_dir import RunDir
from vlm.runner.session import (
    Session,
    command_line,
    open_session,
    summary_of,
    write_run_files,
)
from vlm.runner.stages import is_finished, stages_of
from vlm.runner.storage import storage_errors_told
from vlm.weights import Plan

console = Console(highlight=False, soft_wrap=True)


def train(flags: GinFlags, dry_run: bool) -> int:
    """Trains to the end (from where the run stands), evaluates, reports; stages one by one."""
    stages = stages_of(flags)
    for stage in stages:
        if is_finished(stage):
            console.print(f'Stage {stage.name} is complete.')
            continue
        console.print(f'Stage {stage.name}', style='bold')
        # What comes after a stage that was stopped, or only looked at, has nothing to begin with.
        if (status := _train(stage.flags, dry_run)) is not None or dry_run:
            return status or 0
    return 0 if stages else _train(flags, dry_run) or 0


def _train(flags: GinFlags, dry_run: bool) -> int | None:
    """The exit status of a run that was stopped; None if it came to its end."""
    began = time.monotonic()
    with quiet_libraries(), contextlib.ExitStack() as told:
        session = open_session(flags)
        told.enter_context(storage_errors_told(session.run))
        plans = _starting_points(session)
        _introduce(session)
        pretrained.tell(plans, console)
        if dry_run:
            show_plan(session.trainer)
            return 0
        mesh = session.trainer.build_mesh()
        tell_undivided(session.abstract_params, session.parameter_axes, mesh, console)
        if is_first():
            write_run_files(session)
            if plans:
                pretrained.write(plans, session.run)
        log = MetricsLog(session.run) if is_first() else NoLog()
        training = session.trainer.run(session.run, log, mesh)
        if training.interrupted:
            step = int(training.state.step)
            console.print(f'Stopped and saved at step {step:,}. Go on with: {command_line()}')
            # A scheduler's SIGTERM is no failure; the shell expects 130 of Ctrl-C.
            return 130 if training.interrupted == signal.SIGINT else 0
        scores = _final_scores(session, training.state.best_params, log, mesh)
        log.close()
        if not is_first():
            return 0
        seconds = time.monotonic() - began
        summary = summary_of(session, seconds, training.step_seconds)
        session.run.write_json(session.run.summary, summary)
        report = write_report(session.run.path)
    _tell_bad_data()
    _print_scores(scores)
    share = f'{summary["share_of_train_step"]:.0%} of it in the train step'
    console.print(f'{clock(seconds)} in all, {share}. Report: {report}')
    return None


def _starting_points(session: Session) -> list[Plan]:
    """What public checkpoints give a run that has none of its own yet."""
    if latest_step(session.run) is not None:
        return []
    trainer = session.trainer
    return trainer.pretrained.plans(session.abstract_params, trainer.model.module.config)


def _final_scores(session: Session, params: object, log: MetricsLog, mesh: DataMesh) -> Scores:
    evaluation = session.trainer.evaluation
    if evaluation is None:
        return []
    trainer = session.trainer
    return evaluation.run(trainer.model, params, session.run, log, trainer.total_steps, mesh)


def evaluate(flags: GinFlags, run_dir: str, checkpoint: str = 'latest') -> int:
    """Evaluates a checkpoint of a run ('latest', 'best' or a step); writes scores and report."""
    with quiet_libraries(), storage_errors_told(RunDir(run_dir)):
        session = open_session(flags, run_dir)
        evaluation = session.trainer.evaluation
        if evaluation is None:
            raise UserError(f'{run_dir} was configured without an evaluation (Trainer.evaluation).')
        step, params, mesh = _restored(session, checkpoint)
        log = MetricsLog(session.run) if is_first() else NoLog()
        scores = evaluation.run(session.trainer.model, params, session.run, log, step, mesh)
        log.close()
        if not is_first():
            return 0
        report = write_report(session.run.path)
    _tell_bad_data()
    _print_scores(scores)
    console.print(f'Report: {report}')
    return 0


def infer(flags: GinFlags, run_dir: str, task: str, split: str, output: str | None) -> int:
    """Writes one JSON line an example: id, prompt, prediction, references, score."""
    with quiet_libraries(), storage_errors_told(RunDir(run_dir)):
        session = open_session(flags, run_dir)
        trainer = session.trainer
        lengths = (trainer.evaluation or trainer.dataset).task_feature_lengths
        spec = spec_of(task)
        data = DatasetConfig(task, lengths, split, shuffle=False)
        examples = data.examples().cache()
        converted = trainer.model.FEATURE_CONVERTER_CLS(pack=False)(examples, dict(lengths))
        _, params, mesh = _restored(session)
        batch = trainer.evaluation.batch_size if trainer.evaluation else data.batch_size
        decoding = trainer.evaluation.decoding if trainer.evaluation else DecodingConfig()
        vocabulary = output_features()['targets'].vocabulary
        unanswered = unanswered_ids(vocabulary)
        predictor = BatchPredictor(
            trainer.model,
            mesh,
            batch,
            lengths['targets'],
            unanswered,
            decoding,
            label_ids(spec.labels, vocabulary),
        )
        known = read_examples(examples)
        answers = []
        with ProgressBar('infer', len(known)) as bar:
            for _, row in predictor(params, converted.enumerate()):
                answers.append(row)
                bar.update(len(answers), {})
        target = Path(output) if output else session.run.inference / f'{task}-{split}.jsonl'
        with one_vocabulary_path():
            rows = result_rows(spec, known, answers)
        session.run.write_lines(target, rows)
        sent = write_submission(spec, rows, session.run, submission_path(target))
    _tell_bad_data()
    console.print(f'{len(answers)} answers in {target}')
    if sent:
        console.print(f'For the evaluation server: {submission_path(target)}')
    return 0


def _restored(session: Session, checkpoint: str = 'latest') -> tuple[int, object, DataMesh]:
    mesh = session.trainer.mesh.build()
    step = step_named(session.run, checkpoint, session.trainer.checkpoints)
    step, params = restore_params(session.run, step)
    params = to_layout(params, session.abstract_params)
    return step, place_parameters(params, session.parameter_axes, mesh), mesh


def _introduce(session: Session) -> None:
    trainer = session.trainer
    dataset = trainer.dataset
    table = Table.grid(padding=(0, 2))
    table.add_row('model', f'{session.num_parameters:,} parameters')
    table.add_row('wiring', trainer.model.module.config.wiring)
    table.add_row('data', f'{dataset.mixture_or_task_name}, {dataset.batch_size} images a step')
    table.add_row('steps', f'{trainer.total_steps:,}')
    table.add_row('devices', f'{jax.device_count()} x {jax.devices()[0].device_kind}')
    table.add_row('run', str(session.run.path))
    console.print(table)
    if session.initial:
        origins = Table(title=f'parameters from {trainer.initial.path}')
        for name in ('', 'count', 'which'):
            origins.add_column(name)
        for row in summary_rows(session.initial):
            origins.add_row(*map(escape, row))
        console.print(origins)


def _print_scores(scores: Scores) -> None:
    if not scores:
        return
    table = Table(title='scores')
    for name in ('task', 'metric'):
        table.add_column(name)
    for name in ('value', 'examples'):
        table.add_column(name, justify='right')
    last = None
    for row in scores:
        value = str(row['value']) if isinstance(row['value'], int) else f'{row["value"]:.3f}'
        first = row['task'] != last
        table.add_row(
            row['task'] if first else '', row['metric'], value, f'{row["n"]:,}' if first else ''
        )
        last = row['task']
    console.print(table)


def _tell_bad_data() -> None:
    for kind, count in bad_data.counts().items():
        found = bad_data.ids_by_reason(kind)
        told = '; '.join(f'{", ".join(ids)}: {reason}' for reason, ids in found.items())
        console.print(f'[yellow]{kind.replace("_", " ")}[/]: {count} times. First: {escape(told)}')
