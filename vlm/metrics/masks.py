"""Masks as tokens: a box, 16 codes of what lies in it, and a decoder that draws the codes.

PaliGemma (arXiv 2407.07726) writes `<loc....>` four times, then `<seg...>` 16 times, each one of
128 codes of a 64 x 64 mask of the box, then the name. The decoder is a small trained network that
this package does not have: any function that is a `MaskDecoder` will do.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from vlm.boxes import Box, BoxCodec, BoxFormatError, BoxLike, ParsedBoxes, relative_to_pixels
from vlm.errors import UNANSWERED
from vlm.metrics.detection import PALIGEMMA
from vlm.metrics.examples import mean, pairs

CODES = 16  # of one mask
LEVELS = 128  # of one code
SIDE = 64  # of a decoded mask, in pixels

# int[N, 16] codes -> float[N, 64, 64]: how much each of the box's 64 x 64 pixels belongs to the
# object, in [0, 1].
MaskDecoder = Callable[[np.ndarray], np.ndarray]

_CODES = re.compile(rf'((?:<seg[0-9]{{3}}>){{{CODES}}})\s*(.*)', re.DOTALL)
_CODE = re.compile(r'<seg([0-9]{3})>')


@dataclasses.dataclass(frozen=True)
class CodedMask:
    """One object: its box, the codes of its mask, its label ('' if there is none)."""

    box: Box
    codes: tuple[int, ...]
    label: str = ''


def encode_codes(codes: Sequence[int]) -> str:
    """Writes the codes of a mask; raises BoxFormatError unless they are 16, in 0..127."""
    if len(codes) != CODES or not all(0 <= code < LEVELS for code in codes):
        raise BoxFormatError(
            f'mask codes {list(codes)!r} are not {CODES} numbers in 0..{LEVELS - 1}'
        )
    return ''.join(f'<seg{code:03d}>' for code in codes)


def parse_masks(text: str, codec: BoxCodec = PALIGEMMA) -> list[CodedMask]:
    """Reads what a model wrote; a box without 16 codes behind it is left out. Never raises."""
    masks = []
    for entry in codec.parse(text).objects:
        match = _CODES.fullmatch(entry.label)
        codes = tuple(map(int, _CODE.findall(match[1]))) if match else ()
        if codes and max(codes) < LEVELS:
            masks.append(CodedMask(entry.box, codes, match[2].strip()))
    return masks


class MaskBoxCodec(BoxCodec):
    """A `BoxCodec` that, reading, takes the codes off the labels, so that boxes can be scored."""

    def parse(self, text: str) -> ParsedBoxes:
        """As `BoxCodec.parse`; a label loses the 16 codes it begins with."""
        parsed = super().parse(text)
        objects = [
            dataclasses.replace(entry, label=match[2].strip())
            if (match := _CODES.fullmatch(entry.label))
            else entry
            for entry in parsed.objects
        ]
        return ParsedBoxes(objects, parsed.unreadable)


def paste_mask(
    mask: Float[np.ndarray, '64 64'], box: BoxLike, height: int, width: int
) -> Bool[np.ndarray, 'height width']:
    """Draws a decoded mask into its box of an image of that size; a pixel is on from 0.5.

    `box` is [y_min, x_min, y_max, x_max] in [0, 1]; its edges are rounded to whole pixels.
    """
    y_min, x_min, y_max, x_max = np.rint(relative_to_pixels(box, height, width)).astype(int)
    canvas = np.zeros((height, width), bool)
    if y_max > y_min and x_max > x_min:
        size = (int(x_max - x_min), int(y_max - y_min))
        resized = Image.fromarray(mask.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
        canvas[y_min:y_max, x_min:x_max] = np.asarray(resized) >= 0.5
    return canvas


def mask_readout(
    targets: Sequence[Bool[np.ndarray, 'height width']],
    predictions: Sequence[str],
    decoder: MaskDecoder,
    codec: BoxCodec = PALIGEMMA,
) -> dict[str, float]:
    """Scores answers that should hold one mask (RefCOCO): 'mean_mask_iou', in [0, 1].

    The mean over all examples of the IoU of the first readable mask with the true one, which is of
    the whole image. No mask counts 0, but where the true one is empty, 1.
    """
    ious = []
    for truth, said in pairs(targets, predictions):
        found = parse_masks(said, codec)[:1] if said != UNANSWERED else []
        drawn = np.zeros_like(truth)
        for entry in found:
            [mask] = decoder(np.array([entry.codes]))
            drawn = paste_mask(np.asarray(mask), entry.box, *truth.shape)
        either = np.logical_or(drawn, truth).sum()
        if said == UNANSWERED:
            ious.append(0.0)
        else:
            ious.append(float(np.logical_and(drawn, truth).sum() / either) if either else 1.0)
    return {'mean_mask_iou': mean(ious)}
