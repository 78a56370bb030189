"""Prints what decoding costs, with and without caches, with and without a beam.

    python benchmarks/decode.py

About ten million parameters (6 vision and 4 decoder layers of width 256), images of 128 px, greedy
unless it says beam. Answers never end, so that every row has its full length. Takes about a minute.
"""

import argparse
import functools
import math
import re
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vlm.decoding import DecodingConfig, decode, prefill
from vlm.model import VisionTextModel
from vlm.nn.masks import decoder_mask
from vlm.runner.host_memory import use_huge_pages
from vlm.runner.utilisation import matrix_rate

from measuring import (
    fastest,
    machine,
    make_batch,
    make_model,
    make_params,
    memory_flops,
    text_flops,
    vision_flops,
)

PROMPT = 15  # with the beginning of the row 16 slots
GREEDY, BEAM = DecodingConfig(), DecodingConfig('beam', 4)
NEVER = -1  # no token has this id, so no answer ends


def main() -> None:
    """Measures and prints."""
    use_huge_pages()  # as the commands do
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--tokens', type=int, default=32)
    parser.add_argument('--long', type=int, default=256, help='tokens for the time by position')
    parser.add_argument('--repeats', type=int, default=5)
    args = parser.parse_args()
    model = make_model(vision_layers=6, decoder_layers=4)
    batch = make_batch(args.batch, PROMPT, args.tokens)
    params = make_params(model, batch)
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    print(machine())
    print(
        f'{count / 1e6:.1f} M parameters, batch {args.batch}, images {batch["images"].shape[1:]}, '
        f'prompt {PROMPT}, answer {args.tokens} tokens, float32'
    )
    speed(model, params, batch, args.tokens, args.repeats)
    quarters(model, params, args.batch, args.long, args.repeats)
    memory(model, params, batch, args.tokens)


def answers(
    model: VisionTextModel, params: Any, batch: Any, config: DecodingConfig, length: int, stamp=None
) -> jax.Array:
    """What `predict_batch` does; `stamp(position)` is called before every step."""
    prefilled = prefill(model.module.bind({'params': params}), batch, batch_room(batch))
    step, caches = prefilled.answer_step(config.num_decodes, length)

    def stamped(tokens, caches, position, lineage):
        jax.debug.callback(stamp, position, ordered=True)
        return step(tokens, caches, position, lineage)

    used = step if stamp is None else stamped
    return decode(prefilled.logits, caches, used, config, max_length=length, eos_id=NEVER).tokens


def batch_room(batch: Any) -> int:
    """Tokens of a row that are no prompt's."""
    return batch['decoder_input_tokens'].shape[1] - PROMPT


def speed(model: VisionTextModel, params: Any, batch: Any, length: int, repeats: int) -> None:
    """Greedy and beam against the loop that runs the network anew for every token."""

    def run(config: DecodingConfig, tokens: int) -> Any:
        function = jax.jit(functools.partial(answers, model, config=config, length=tokens))
        return lambda: function(params, batch)

    whole, decoder = without_caches(model, params, batch, length)
    seconds = fastest(
        {
            'greedy': run(GREEDY, length),
            'first': run(GREEDY, 1),
            'beam': run(BEAM, length),
            'first of beam': run(BEAM, 1),
            'whole': whole,
            'decoder': decoder,
        },
        repeats,
    )
    same = np.mean(np.asarray(whole()) == np.asarray(run(GREEDY, length)())[:, 0])
    steps = length - 1
    greedy = (seconds['greedy'] - seconds['first']) / steps
    beam = (seconds['beam'] - seconds['first of beam']) / steps
    rate, size = matrix_rate(), len(batch['images'])
    config = model.module.config
    slots = PROMPT + 1 + length
    reading = vision_flops(config) + memory_flops(config) + text_flops(config, PROMPT + 1, slots, 1)
    token = text_flops(config, 1, slots, 1)
    floor = size * (reading + steps * token) / rate
    print(f'matrix products reach {rate / 1e9:.0f} GFLOP/s')
    print(
        f'greedy {seconds["greedy"]:.3f} s, of it images and prompt {seconds["first"]:.3f} s; '
        f'floor of the operations {floor:.3f} s, {seconds["greedy"] / floor:.1f} times that'
    )
    print(
        f'without caches: the whole network for every token {seconds["whole"]:.3f} s, '
        f'{seconds["whole"] / seconds["greedy"]:.1f} times greedy (same tokens: {same:.0%}); '
        f'the decoder alone {seconds["decoder"]:.3f} s, '
        f'{seconds["decoder"] / seconds["greedy"]:.1f} times'
    )
    print(
        f'a token of the batch: greedy {1e3 * greedy:.2f} ms (floor '
        f'{1e3 * size * token / rate:.2f} ms), beam {BEAM.num_decodes} {1e3 * beam:.2f} ms, '
        f'{beam / greedy:.2f} times'
    )


def without_caches(model: VisionTextModel, params: Any, batch: Any, length: int) -> tuple[Any, Any]:
    """Greedy loops over whole rows: one runs everything for a token, one the decoder alone."""
    network = model.module
    prompts = np.where(batch['decoder_prefix_mask'], batch['decoder_input_tokens'], 0)
    images = {name: batch[name] for name in ('images', 'image_mask')}

    def extended(rows: jax.Array, at: jax.Array, logits: jax.Array) -> tuple[jax.Array, jax.Array]:
        chosen = jnp.argmax(logits[:, 0].at[:, 0].set(-jnp.inf), axis=-1).astype(jnp.int32)
        # JAX drops the write behind the row's end: nothing reads the last token.
        return rows.at[:, at + 1].set(chosen), chosen

    @jax.jit
    def whole(params: Any, images: Any, rows: jax.Array, at: jax.Array) -> Any:
        prefix = batch['decoder_prefix_mask']
        features = {**images, 'decoder_input_tokens': rows, 'decoder_prefix_mask': prefix}
        positions = jnp.full((len(rows), 1), at)
        logits = network.apply({'params': params}, features, positions=positions)
        return extended(rows, at, logits)

    @jax.jit
    def encode(params: Any, images: Any) -> Any:
        return network.apply(
            {'params': params}, images['images'], images['image_mask'], method='encode'
        )

    @jax.jit
    def decoder(params: Any, memory: Any, rows: jax.Array, at: jax.Array) -> Any:
        bound = network.bind({'params': params})
        mask = decoder_mask(rows.shape[1], batch['decoder_prefix_mask'])
        states, _ = bound.decode_step(rows, memory, mask)
        return extended(rows, at, bound.logits(states[:, at][:, None]))

    def loop(step: Any, source: Any) -> jax.Array:
        rows, said = jnp.asarray(prompts), []
        for at in range(PROMPT, PROMPT + length):
            rows, chosen = step(params, source, rows, jnp.asarray(at))
            said.append(chosen)
        return jnp.stack(said, axis=1)

    return lambda: loop(whole, images), lambda: loop(decoder, encode(params, images))


def quarters(model: VisionTextModel, params: Any, size: int, length: int, repeats: int) -> None:
    """Time of a token by its position in a long answer."""
    stamps: list[float] = []
    function = jax.jit(
        functools.partial(
            answers,
            model,
            config=GREEDY,
            length=length,
            stamp=lambda position: stamps.append(time.perf_counter()),
        )
    )
    batch = make_batch(size, PROMPT, length)
    times = []
    for _ in range(repeats + 1):
        stamps.clear()
        jax.block_until_ready(function(params, batch))
        jax.effects_barrier()
        edges = [round(i * (len(stamps) - 1) / 4) for i in range(5)]
        pairs = zip(edges[:-1], edges[1:], strict=True)
        times.append([(stamps[b] - stamps[a]) / (b - a) for a, b in pairs])
    best = np.min(times[1:], axis=0)
    shown = ', '.join(f'{1e3 * seconds:.2f}' for seconds in best)
    print(f'a token by quarter of {length}: {shown} ms; last over first {best[-1] / best[0]:.2f}')


def memory(model: VisionTextModel, params: Any, batch: Any, length: int) -> None:
    """What the compiled programs keep of the images while they loop."""
    text, size = model.module.config.text, len(batch['images'])
    tokens = model.module.config.vision.num_tokens
    elements = size * tokens * text.num_heads * text.head_dim
    print(
        f'cross-attention keys and values of {size} images: {2 * text.num_layers} arrays, '
        f'{8 * text.num_layers * elements / 2**20:.1f} MiB'
    )
    for name, config in (('greedy', GREEDY), (f'beam {BEAM.num_decodes}', BEAM)):
        function = jax.jit(functools.partial(answers, model, config=config, length=length))
        compiled = function.lower(params, batch).compile()
        carried = loop_arrays(compiled.as_text())
        once = sum(count == elements for count in carried)
        copied = sum(count == elements * BEAM.num_decodes for count in carried)
        temporary = compiled.memory_analysis().temp_size_in_bytes / 2**20
        print(
            f'{name}: the decoding loop carries {once} arrays of that size and {copied} of '
            f'{BEAM.num_decodes} times it; temporary memory of the program {temporary:.1f} MiB'
        )


def loop_arrays(program: str) -> list[int]:
    """Elements of the float arrays, weights apart, that the largest loop of a program carries."""
    loops = re.findall(r'= \(([^)]*)\) while\(', re.sub(r'/\*.*?\*/|\{[^}]*\}', '', program))
    shapes = [re.findall(r'f32\[([0-9,]+)\]', carried) for carried in loops]
    sizes = [[int(size) for size in shape.split(',')] for shape in max(shapes, key=len)]
    return [math.prod(size) for size in sizes if len(size) > 2]


if __name__ == '__main__':
    main()
