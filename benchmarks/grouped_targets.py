"""Prints what several targets an image cost, by how they are laid out.

    python benchmarks/grouped_targets.py --targets 3

For each wiring a training step with one target an image, then with several: in one row that they
share, in a row each over the image encoded once, and as examples of their own, each with its
image. 6 vision layers, 2 of the decoder (and 2 of the text encoder in `fusion_encoder`). Takes two
minutes.
"""

import argparse

import numpy as np

from vlm.data.rows import make_row
from vlm.runner.host_memory import use_huge_pages
from vlm.vocab import EOS_ID

import measuring
from train_step import Step

SHARED, ROWS, APART = 'a shared row', 'a row each', 'examples of their own'
WIRINGS = {
    'decoder_prefix': ({}, (SHARED, ROWS, APART)),
    'prefix_lm, PAIRS_SHARE_ROW': ({'pairs_share_row': True}, (SHARED, ROWS, APART)),
    'prefix_lm': ({}, (ROWS, APART)),
    'fusion_encoder': ({}, (ROWS, APART)),
}


def main() -> None:
    """Measures and prints."""
    use_huge_pages()  # as the commands do
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--batch', type=int, default=16, help='images')
    parser.add_argument('--targets', type=int, default=3, help='targets an image')
    parser.add_argument('--prompt', type=int, default=8, help='prompt tokens a target')
    parser.add_argument('--answer', type=int, default=16, help='answer tokens a target')
    parser.add_argument('--repeats', type=int, default=4)
    args = parser.parse_args()
    print(measuring.machine())
    print(
        f'{args.targets} targets of {args.prompt} prompt and {args.answer} answer tokens for each '
        f'of {args.batch} images of 128 px; times one target an image:'
    )
    for name, (options, layouts) in WIRINGS.items():
        wiring = name.partition(',')[0]
        model = measuring.make_model(6, 2, wiring=wiring, **options)
        counts = {'one target': (ROWS, 1)} | {each: (each, args.targets) for each in layouts}
        steps = {
            title: Step(model, make_batch(wiring, layout, count, args))
            for title, (layout, count) in counts.items()
        }
        seconds = measuring.fastest(steps, args.repeats)
        one = seconds.pop('one target')
        print(f'  {name}: {one:.3f} s')
        for title, taken in seconds.items():
            print(
                f'    {title}: {taken / one:.2f} times, '
                f'peak {steps[title].peak_bytes / 2**20:.0f} MiB'
            )


def make_batch(
    wiring: str, layout: str, count: int, args: argparse.Namespace
) -> dict[str, np.ndarray]:
    """`count` random targets for each of `args.batch` images, laid out in one of the ways."""
    rng = np.random.default_rng(0)
    together = count if layout == SHARED else 1
    answer = together * args.answer
    row_length = answer if wiring == 'fusion_encoder' else together * args.prompt + answer
    lengths = {f'decoder_{name}': row_length for name in measuring.ROW}
    lengths['encoder_input_tokens'] = together * args.prompt

    def row() -> dict[str, np.ndarray]:
        inputs, targets = (_tokens(rng, together, n) for n in (args.prompt, args.answer))
        return make_row(wiring, inputs, targets, lengths)

    rows = [row() for _ in range(args.batch * count // together)]
    text = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    images = len(rows) if layout == APART else args.batch
    if layout == ROWS:
        text = {name: value.reshape(images, count, -1) for name, value in text.items()}
    return {
        'images': rng.integers(0, 256, (images, 1, 128, 128, 3), np.uint8),
        'image_mask': np.ones((images, 1), bool),
        **text,
    }


def _tokens(rng: np.random.Generator, count: int, length: int) -> np.ndarray:
    ids = rng.integers(3, measuring.VOCABULARY, (count, length), dtype=np.int32)
    ids[:, -1] = EOS_ID
    return ids.ravel()


if __name__ == '__main__':
    main()
