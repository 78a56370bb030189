"""Public checkpoints that a run starts from: `vlm.weights` as gin binds it.

VISION_CHECKPOINT = 'google/siglip-base-patch16-224'     # or a folder, or big_vision's .npz
TEXT_CHECKPOINT = 'path/of/t5_v1_1_base'
"""

import dataclasses
import re
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vlm.data.vocabularies import model_beside, task_vocabulary
from vlm.errors import UserError
from vlm.nn.network import NetworkConfig
from vlm.runner.run_dir import RunDir, is_run
from vlm.runner.state import TrainState, flat_names
from vlm.weights import Plan, load, make_plan, open_checkpoint, summary


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """Where parameters come from that are not drawn at random.

    Attributes:
      vision: the checkpoint of the vision encoder.
      text: that of the token table, the decoder and, if the wiring has one, the encoder.
      model: that of a whole model, in place of the two. A run directory of ours is left to
        `vlm.runner.initial`.
      allow_new: patterns of parameters that a checkpoint need not have; they stay random.
      allow_unused: patterns of tensors that may find no parameter.
      allow_pickle: reads pytorch_model.bin too, with PyTorch's reader of weights alone.
    """

    vision: str | None = None
    text: str | None = None
    model: str | None = None
    allow_new: tuple[str, ...] = ()
    allow_unused: tuple[str, ...] = ()
    allow_pickle: bool = False

    def __post_init__(self):
        if self.model and (self.vision or self.text):
            raise UserError(
                f'INITIAL_CHECKPOINT_PATH = {self.model!r} is a whole model: VISION_CHECKPOINT and '
                'TEXT_CHECKPOINT must then be None.'
            )
        for pattern in (*self.allow_new, *self.allow_unused):
            try:
                re.compile(pattern)
            except re.error as error:
                raise UserError(
                    f'pretrained.Pretrained: {pattern!r} is no regular expression: {error}.'
                ) from error

    def plans(self, params: Any, config: NetworkConfig) -> list[Plan]:
        """What each checkpoint gives, from headers alone; for `params` shapes are enough.

        Raises `UserError` for a checkpoint that is not there, damaged, or of another network.
        """
        shapes = {name: tuple(leaf.shape) for name, leaf in flat_names(params).items()}
        allowed = {'allow_new': self.allow_new, 'allow_unused': self.allow_unused}
        plans = []
        for part in ('vision', 'text', 'model'):
            path = getattr(self, part)
            if path and not (part == 'model' and is_run(path)):
                source, family = open_checkpoint(path, self.allow_pickle)
                plans.append(make_plan(source, family, part, shapes, config, **allowed))
        return plans

    def into(self, state: TrainState, config: NetworkConfig) -> TrainState:
        """The state with what the checkpoints give; the old arrays are deleted."""
        params = state.params
        for plan in self.plans(params, config):
            params = load(params, plan, config)
        averaged = state.ema_params
        if averaged is not None and params is not state.params:
            averaged = jax.tree.map(jnp.copy, params)
        return dataclasses.replace(state, params=params, ema_params=averaged)


def tell(plans: Iterable[Plan], console: Console) -> None:
    """Prints what is restored, resized, new and unused, a line for all layers of a stack."""
    for plan in plans:
        table = Table(title=escape(f'{plan.source.path} ({plan.title})'))
        table.add_column('')
        table.add_column('name')
        table.add_column('tensors', justify='right')
        for kind, names in _kinds(plan).items():
            for name, count in _collapsed(names).items():
                table.add_row(kind, escape(name), str(count))
                kind = ''
        console.print(table)
        if any(name.startswith('token_embedder/') for name in plan.restored):
            _tell_other_vocabulary(plan.source.path, console)


def _tell_other_vocabulary(checkpoint: str, console: Console) -> None:
    """Rows of a table mean nothing with other tokens, and no shape shows it."""
    own, used = model_beside(checkpoint), task_vocabulary()
    if own is None:
        reason = f'{checkpoint} has no SentencePiece model beside it'
    elif own.read_bytes() != used.tokenizer.model_bytes:
        reason = f'{own} is another model'
    else:
        return
    console.print(
        f'[yellow]tokens are those of {escape(used.path)} (VOCABULARY): {escape(reason)}.[/]'
    )


def write(plans: Iterable[Plan], run: RunDir) -> None:
    """Saves the same, tensor by tensor."""
    run.write_json(run.weights, [summary(plan) for plan in plans])


def _kinds(plan: Plan) -> dict[str, list[str]]:
    fitted = {name: pieces[0].fitted_from for name, pieces in plan.restored.items()}
    return {
        'restored': [name for name, shape in fitted.items() if shape is None],
        'resized': [f'{name} from {shape}' for name, shape in fitted.items() if shape is not None],
        'new': list(plan.new),
        'unused': list(plan.unused),
    }


def _collapsed(names: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        shown = re.sub(r'([_.])\d+(?=[/.])', r'\1*', name)
        counts[shown] = counts.get(shown, 0) + 1
    return counts
