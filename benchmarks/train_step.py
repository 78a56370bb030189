"""Prints what a training step costs: time, peak memory, and the share of the device's rate.

    python benchmarks/train_step.py

The network of benchmarks/decode.py in training with everything trained, with the vision encoder
frozen, and with both stacks scanned and rematerialised, which holds less; then a network whose
vision encoder does about four times the work of its decoder, with one and with three targets an
image. AdamW, float32. Takes a minute.
"""

import argparse
from typing import Any

import jax
import optax

from vlm.model import VisionTextModel
from vlm.nn.network import NetworkConfig
from vlm.runner.host_memory import use_huge_pages
from vlm.runner.utilisation import matrix_rate

import measuring

PROMPT, ANSWER = 16, 16
# With 2 decoder layers the vision encoder of 6 does four times their work.
SHORT_PROMPT, SHORT_ANSWER = 8, 16


def main() -> None:
    """Measures and prints."""
    use_huge_pages()  # as the commands do
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--repeats', type=int, default=4)
    args = parser.parse_args()
    print(measuring.machine())
    rate = matrix_rate()
    print(f'matrix products reach {rate / 1e9:.0f} GFLOP/s; batch {args.batch}, images of 128 px')
    whole = measuring.make_batch(args.batch, PROMPT, ANSWER)
    print(f'6 vision and 4 decoder layers, rows of {PROMPT} prompt and {ANSWER} answer tokens:')
    compare(
        {
            'all trained': Step(measuring.make_model(6, 4), whole),
            'frozen vision': Step(measuring.make_model(6, 4, freeze=True), whole),
            'scan + remat': Step(measuring.make_model(6, 4, scan_layers=True, remat='full'), whole),
        },
        rate,
        args.repeats,
    )
    model = measuring.make_model(6, 2)
    one = measuring.make_batch(args.batch, SHORT_PROMPT, SHORT_ANSWER)
    three = measuring.make_batch(args.batch, SHORT_PROMPT, SHORT_ANSWER, pairs=3)
    vision, text = forward_flops(model.module.config, one)
    print(
        f'6 vision and 2 decoder layers, {SHORT_PROMPT} prompt and {SHORT_ANSWER} answer tokens a '
        f'target; vision : text = {vision / text:.1f} : 1 with one target:'
    )
    compare(
        {'one target': Step(model, one), 'three targets': Step(model, three)}, rate, args.repeats
    )


class Step:
    """A compiled training step that keeps its state."""

    def __init__(self, model: VisionTextModel, batch: dict[str, Any]):
        self._config = model.module.config
        frozen = self._config.freeze_vision
        self._params = measuring.make_params(model, batch)
        self._batch = jax.device_put(batch)
        labels = {
            name: 'frozen' if frozen and name == 'vision' else 'trained' for name in self._params
        }
        optimizer = optax.multi_transform(
            {'trained': optax.adamw(1e-4), 'frozen': optax.set_to_zero()}, labels
        )
        self._state = optimizer.init(self._params)

        def step(params: Any, state: Any, batch: Any) -> tuple[Any, Any, jax.Array]:
            def loss_of(params: Any) -> jax.Array:
                return model.loss_fn(params, batch, None)[0]

            loss, gradient = jax.value_and_grad(loss_of)(params)
            updates, state = optimizer.update(gradient, state, params)
            return optax.apply_updates(params, updates), state, loss

        jitted = jax.jit(step, donate_argnums=(0, 1))
        self._step = jitted.lower(self._params, self._state, self._batch).compile()

    def __call__(self) -> jax.Array:
        self._params, self._state, loss = self._step(self._params, self._state, self._batch)
        return loss

    @property
    def flops(self) -> float:
        """Counted operations of a step, in the wiring `decoder_prefix`."""
        vision, text = forward_flops(self._config, self._batch)
        # The backward pass is two products for every one of the forward pass; a frozen encoder
        # has none.
        return vision * (1 if self._config.freeze_vision else 3) + text * 3

    @property
    def peak_bytes(self) -> int:
        """Of the compiled program: its arguments (parameters, optimizer state, batch) included."""
        used = self._step.memory_analysis()
        return used.argument_size_in_bytes + used.temp_size_in_bytes


def forward_flops(config: NetworkConfig, batch: dict[str, Any]) -> tuple[float, float]:
    """Operations of a forward pass over a batch: (vision encoder, text decoder)."""
    size, length = batch['decoder_input_tokens'].shape
    text = measuring.memory_flops(config) + measuring.text_flops(config, length, length, length)
    return size * measuring.vision_flops(config), size * text


def compare(steps: dict[str, Step], rate: float, repeats: int) -> None:
    """One line a step; each beside the first."""
    seconds = measuring.fastest(steps, repeats)
    first = next(iter(seconds.values()))
    for name, step in steps.items():
        used = step.flops / seconds[name] / rate
        print(
            f'  {name}: {seconds[name]:.3f} s ({seconds[name] / first:.2f} times the first), '
            f'peak {step.peak_bytes / 2**20:.0f} MiB, {step.flops / 1e9:.0f} GFLOP, '
            f'{used:.0%} of the matrix rate'
        )


if __name__ == '__main__':
    main()
