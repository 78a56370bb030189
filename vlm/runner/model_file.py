"""`model.json`: a model as plain data, so that a run is served without gin or TensorFlow."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from vlm.boxes import BoxCodec
from vlm.data.rows import PLAIN, PromptForm
from vlm.nn.network import NetworkConfig
from vlm.nn.t5 import TextConfig
from vlm.nn.vit import VitConfig
from vlm.runner.state import flat_names


@dataclasses.dataclass(frozen=True)
class Serving:
    """How a run's model is asked.

    Attributes:
      network: its configuration.
      frame: `size`, `resize` and `filter` of the images.
      lengths: most prompt tokens and answer tokens.
      prompts: prompt template by task.
      codecs: box codec by task, for tasks that answer with boxes.
      parameters: shape by name.
      prompt_form: what rows begin and prompts end with.
    """

    network: NetworkConfig
    frame: dict[str, Any]
    lengths: dict[str, int]
    prompts: dict[str, str]
    codecs: dict[str, BoxCodec]
    parameters: dict[str, list[int]]
    prompt_form: PromptForm = PLAIN

    def to_json(self) -> dict[str, Any]:
        content = dataclasses.asdict(self)
        for part in ('vision', 'text'):
            content['network'][part]['dtype'] = jnp.dtype(content['network'][part]['dtype']).name
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> 'Serving':
        network = dict(content['network'])
        vision, text = dict(network['vision']), dict(network['text'])
        # JSON has no tuples, and a configuration must be hashable.
        vision = {k: tuple(v) if isinstance(v, list) else v for k, v in vision.items()}
        network |= {'vision': VitConfig(**vision), 'text': TextConfig(**text)}
        codecs = {task: BoxCodec(**codec) for task, codec in content['codecs'].items()}
        form = PromptForm(**content.get('prompt_form', {}))  # runs of before the option
        fields = {'network': NetworkConfig(**network), 'codecs': codecs, 'prompt_form': form}
        return cls(**{**content, **fields})


def parameter_shapes(params: Any) -> dict[str, list[int]]:
    """Shape of every parameter by name."""
    return {name: list(leaf.shape) for name, leaf in flat_names(params).items()}
