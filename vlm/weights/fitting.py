"""A tensor of another resolution or vocabulary, fitted to the parameter it is for."""

import re
import zlib
from collections.abc import Callable

import numpy as np

from vlm.nn.flexivit import pi_resize, resample_positions
from vlm.weights.source import Shape

# New embeddings are drawn N(0, 0.02): better than the mean of the old ones after a thousand steps
# (PaliGemma, 2407.07726, 3.2).
NEW_ROW_SCALE = 0.02
# Rows that only round a vocabulary up may go; more would be another vocabulary.
PADDING_ROWS = 128


def fit(name: str, array: np.ndarray, shape: Shape, grid: tuple[int, int]) -> np.ndarray:
    """Returns `array` in the shape of the parameter `name`; `can_fit` says whether that can be.

    Args:
      name: the parameter, as in 'vision/position_embedding'.
      array: float32.
      shape: what the parameter has.
      grid: rows and columns of the positions that the vision encoder stores.
    """
    if array.shape == shape:
        return array
    return _rule(name)[1](array, shape, grid, zlib.crc32(name.encode()))


def can_fit(name: str, have: Shape, want: Shape) -> bool:
    """Whether a tensor of one shape can be fitted to another, for the parameter `name`."""
    rule = _rule(name)
    return have == want or (rule is not None and rule[0](have, want))


def _positions(table: np.ndarray, shape: Shape, grid: tuple[int, int], seed: int) -> np.ndarray:
    side = round(len(table) ** 0.5)
    square = table.reshape(side, side, -1)
    return np.asarray(resample_positions(square, grid)).reshape(shape)


def _square_grid(have: Shape, want: Shape) -> bool:
    return round(have[0] ** 0.5) ** 2 == have[0] and have[1:] == want[1:]


def _at_least(have: Shape, want: Shape) -> bool:
    return have[0] >= want[0] and have[1:] == want[1:]


def _kernel(kernel: np.ndarray, shape: Shape, grid: tuple[int, int], seed: int) -> np.ndarray:
    return np.asarray(pi_resize(kernel, shape[:2]), np.float32)


def _rows(table: np.ndarray, shape: Shape, grid: tuple[int, int], seed: int) -> np.ndarray:
    new = np.random.default_rng(seed).normal(0.0, NEW_ROW_SCALE, shape)
    new[: len(table)] = table[: shape[0]]
    return new.astype(np.float32)


def _columns(kernel: np.ndarray, shape: Shape, grid: tuple[int, int], seed: int) -> np.ndarray:
    return _rows(kernel.T, shape[::-1], grid, seed).T


def _first_rows(table: np.ndarray, shape: Shape, grid: tuple[int, int], seed: int) -> np.ndarray:
    return table[: shape[0]]


def _vocabulary(axis: int) -> Callable[[Shape, Shape], bool]:
    def fits(have: Shape, want: Shape) -> bool:
        other = 1 - axis
        return have[other] == want[other] and have[axis] - want[axis] <= PADDING_ROWS

    return fits


Rule = tuple[Callable[[Shape, Shape], bool], Callable[..., np.ndarray]]
RULES: list[tuple[str, Rule]] = [
    # parameter                       may be fitted if ...                       by ...
    ('vision/position_embedding', (_square_grid, _positions)),
    ('vision/patch_embed/kernel', (lambda have, want: have[2:] == want[2:], _kernel)),
    ('vision/(row|column)_embedding', (_at_least, _first_rows)),
    ('token_embedder/embedding', (_vocabulary(0), _rows)),
    ('decoder/logits_dense/kernel', (_vocabulary(1), _columns)),
    ('position_embedder/embedding', (lambda have, want: have[1:] == want[1:], _rows)),
]


def _rule(name: str) -> Rule | None:
    return next((rule for pattern, rule in RULES if re.fullmatch(pattern, name)), None)
