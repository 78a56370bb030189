"""From gin to a run: what `vlm train`, `eval` and `infer` have in common."""

import dataclasses
import datetime
import importlib.metadata
import shlex
import sys
import time
from collections.abc import Sequence
from typing import Any

import gin
import jax
import numpy as np
import seqio
import tensorflow as tf

from vlm.data.frames import image_frame
from vlm.data.prompts import prompt_form, template
from vlm.data.tasks import declared, spec_of
from vlm.data.threads import leave_cores_to_steps
from vlm.data.vocabularies import task_vocabulary
from vlm.errors import UserError
from vlm.runner import config
from vlm.runner.checkpoints import latest_step
from vlm.runner.compilation import compilation_cache
from vlm.runner.datasets import find_task_or_mixture
from vlm.runner.initial import Origin, as_rows
from vlm.runner.model_file import Serving, parameter_shapes
from vlm.runner.placement import Axes
from vlm.runner.resume import changed_settings, check_architecture, check_training
from vlm.runner.run_dir import RunDir
from vlm.runner.train import Trainer

OPTIONAL_MACROS = ('MIXTURE_OR_TASK_MODULE',)


@dataclasses.dataclass
class Session:
    """A configured run: everything is checked, nothing is compiled yet."""

    trainer: Trainer
    run: RunDir
    initial: Sequence[Origin] = ()  # where a run that begins has its parameters from

    @property
    def abstract_params(self) -> Any:
        """Shapes of the parameters."""
        return self.trainer.parameters[0]

    @property
    def parameter_axes(self) -> Axes:
        """Logical axes of the parameters, by name."""
        return self.trainer.parameters[1]

    @property
    def num_parameters(self) -> int:
        return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(self.abstract_params))


def open_session(flags: config.GinFlags, model_dir: str | None = None) -> Session:
    """Reads gin and checks all that can be checked before compilation.

    Args:
      flags: of the command line.
      model_dir: an existing run, whose configuration and vocabulary are then the start; None for
        the MODEL_DIR of the flags.

    Raises:
      UserError: any mistake in flags, files, names or the run directory.
    """
    # TensorFlow only reads data here; left alone it would take the accelerator's memory.
    tf.config.set_visible_devices([], 'GPU')
    if jax.default_backend() == 'cpu':
        leave_cores_to_steps()
    if model_dir is not None:
        run = RunDir.existing(model_dir)
        own = [f'MODEL_DIR = {str(run.path)!r}', f'VOCABULARY = {str(run.vocabulary)!r}']
        flags = dataclasses.replace(flags, bindings=[*own, *flags.bindings])
        loaded = config.load(flags, [run.config], needed=['MODEL_DIR'], optional=OPTIONAL_MACROS)
    else:
        if not flags.files:
            raise UserError('no configuration: give --gin_file=demo.gin or a file of your own.')
        loaded = config.load(flags, needed=['MODEL_DIR'], optional=OPTIONAL_MACROS)
        run = RunDir(config.macro('MODEL_DIR'))
    for name, where in loaded.unused.items():
        print(f'warning: {name} ({where}) is set but nothing refers to it.', file=sys.stderr)
    compilation_cache()
    config.import_modules(loaded)
    config.register_tasks(loaded)
    trainer = gin.get_configurable(Trainer)()
    trainer.check()
    _check_vocabulary(trainer)
    abstract = trainer.parameters[0]
    check_architecture(run, abstract)
    initial = ()
    if model_dir is None:
        check_training(run, trainer.state_of, task_vocabulary().tokenizer.model_bytes)
        if changes := changed_settings(run, config.config_str()):
            print(f'note: other settings than in config.gin there: {changes}.', file=sys.stderr)
        if latest_step(run) is None:
            initial = trainer.initial.plan(abstract, trainer.model.module.config.vision)
    return Session(trainer, run, initial)


def _check_vocabulary(trainer: Trainer) -> None:
    vocabulary, table = task_vocabulary().vocab_size, trainer.model.module.config.text.vocab_size
    if vocabulary > table:
        raise UserError(
            f'the vocabulary has {vocabulary} tokens, the model only {table} '
            '(TextConfig.vocab_size): ids would fall off the embedding table.'
        )


def serving_of(session: Session) -> Serving:
    """What `vlm ask` needs to know of this run."""
    trainer = session.trainer
    evaluation = trainer.evaluation
    name = (evaluation or trainer.dataset).mixture_or_task_name
    lengths = (evaluation or trainer.dataset).task_feature_lengths
    tasks = [task.name for task in seqio.get_subtasks(find_task_or_mixture(name))]
    specs = [spec_of(task) for task in tasks if task in declared()]
    return Serving(
        network=trainer.model.module.config,
        frame=dataclasses.asdict(image_frame()),
        lengths=dict(lengths),
        prompts={spec.name: template(spec.name, spec.prompt) for spec in specs},
        codecs={spec.name: spec.codec for spec in specs if spec.codec is not None},
        parameters=parameter_shapes(session.abstract_params),
        prompt_form=prompt_form(),
    )


def write_run_files(session: Session) -> None:
    """Configuration, model file and vocabulary: the run directory can be used from now on."""
    run = session.run
    run.create()
    run.write_bytes(run.config, config.config_str().encode())
    run.write_bytes(run.vocabulary, task_vocabulary().tokenizer.model_bytes)
    if session.initial:
        run.write_json(run.initial, as_rows(session.initial))
    run.write_json(run.model, serving_of(session).to_json())


def command_line() -> str:
    """What was typed, quoted so that it can be typed again."""

    def quoted(word: str) -> str:
        plain = shlex.quote(word)
        # --gin.NAME="'text'" instead of shlex's '--gin.NAME='"'"'text'"'"''.
        readable = "'" in word and not set(word) & set('"$`\\!')
        return f'"{word}"' if readable else plain

    return ' '.join(['vlm', *map(quoted, sys.argv[1:])])


def summary_of(session: Session, seconds: float, step_seconds: float) -> dict[str, Any]:
    """The facts of a run that a report begins with."""
    device = jax.devices()[0]
    packages = ('jax', 'flax', 'optax', 'seqio', 'tensorflow')
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {
        'parameters': session.num_parameters,
        'device': f'{jax.device_count()} x {device.device_kind}',
        'versions': versions,
        'command': command_line(),
        'started': datetime.datetime.fromtimestamp(time.time() - seconds).isoformat('T', 'seconds'),
        'seconds': round(seconds, 1),
        'share_of_train_step': round(step_seconds / seconds, 3) if seconds else None,
    }
