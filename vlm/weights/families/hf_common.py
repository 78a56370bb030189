"""What several families of Hugging Face share: names of activations, and pixel statistics."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vlm.errors import unknown_name
from vlm.weights.table import Conversion, Row, convolution

# Hugging Face's name -> ours (`vlm.nn.layers.ACTIVATIONS`). Theirs without a suffix is the erf one.
ACTIVATIONS = {
    'gelu': 'gelu_exact',
    'gelu_new': 'gelu',
    'gelu_pytorch_tanh': 'gelu',
    'quick_gelu': 'quick_gelu',
    'relu': 'relu',
    'silu': 'silu',
}
HALF = (0.5, 0.5, 0.5)


def activation(name: str) -> str:
    """Our name of an activation; `UserError` for one we do not have."""
    if name not in ACTIVATIONS:
        raise unknown_name('activation', name, ACTIVATIONS, 'config.json')
    return ACTIVATIONS[name]


def patch_rows(
    weight: str,
    bias: str | None,
    config: Mapping[str, Any],
    to_kernel: Conversion = convolution,
    mean: Sequence[float] = HALF,
    std: Sequence[float] = HALF,
) -> list[Row]:
    """The patch embedding, with the normalisation of pixels folded in.

    Our encoder is given (2 x - 1) for pixels x in [0, 1]; the checkpoint was trained on
    (x - mean) / std. With mean = std = 0.5 they are the same, otherwise a kernel and a bias exist
    that make them so. `mean` and `std` are the family's where no preprocessor_config.json says.
    """
    pixels = config.get('preprocessor', {})
    mean = np.float32(pixels.get('image_mean', mean))
    std = np.float32(pixels.get('image_std', std))
    if np.array_equal(mean, np.float32(HALF)) and np.array_equal(std, np.float32(HALF)) and bias:
        return [
            Row('vision/patch_embed/kernel', weight, to_kernel),
            Row('vision/patch_embed/bias', bias),
        ]
    scale, shift = 0.5 / std, (0.5 - mean) / std

    def kernel(w: Any) -> Any:
        return to_kernel(w) * scale[:, None]

    def shifted(w: Any, *b: Any) -> Any:
        moved = (to_kernel(w) * shift[:, None]).sum((0, 1, 2))
        return moved + b[0] if b else moved

    return [
        Row('vision/patch_embed/kernel', weight, kernel),
        Row('vision/patch_embed/bias', (weight, bias) if bias else weight, shifted),
    ]


def without_first_row(table: Any) -> Any:
    """Positions of the patches, of a table whose first is the class token's."""
    return table.reshape(-1, table.shape[-1])[1:]


def class_token(token: Any, table: Any) -> Any:
    """The class token with its position: one register of ours."""
    return token.reshape(1, -1) + table.reshape(-1, table.shape[-1])[:1]
