"""Task features to model features: images decoded at last, tokens laid out as decoder rows."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from vlm.data.bad_data import bad_data
from vlm.data.chunks import NO_NUMBER, NO_STRING, in_chunks
from vlm.data.envelope import read_tag
from vlm.data.frames import Frame, image_frame
from vlm.data.image_files import MAX_PIXELS, ImageError
from vlm.data.images import load_image
from vlm.data.prompts import prompt_form
from vlm.data.python_calls import numpy_function
from vlm.data.rows import PLAIN, PromptForm, make_row, segments
from vlm.errors import UserError, unknown_name
from vlm.vocab import EOS_ID

Spec = seqio.FeatureConverter.FeatureSpec

_IMAGES = {'images': Spec(tf.uint8, rank=4), 'image_mask': Spec(tf.bool)}
_ROW = {
    'decoder_input_tokens': Spec(tf.int32),
    'decoder_target_tokens': Spec(tf.int32),
    'decoder_loss_weights': Spec(tf.float32),
}
_PREFIX_ROW = {
    **_ROW,
    'decoder_prefix_mask': Spec(tf.bool),
    'decoder_segment_ids': Spec(tf.int32),
}
# So many examples are decoded and laid out in one call into Python, see `vlm.data.chunks`. More
# would be few calls at a time where images are large.
DECODED = 4
# A feature beside those of the model, where it is asked for.
NAME = 'name'
MODEL_FEATURES = {
    'decoder_prefix': {**_IMAGES, **_PREFIX_ROW},
    'prefix_lm': {**_IMAGES, **_PREFIX_ROW},
    'fusion_encoder': {**_IMAGES, 'encoder_input_tokens': Spec(tf.int32), **_ROW},
}


class ImageTextFeatureConverter(seqio.FeatureConverter):
    """Decodes and resizes the images of an example and lays out its tokens for a wiring.

    The features are those of `vlm.data.rows`, with `images` uint8[n, H, W, 3] and `image_mask`
    bool[n]. In `fusion_encoder` an example with several pairs becomes one example a pair, and so it
    does in `prefix_lm` without `pairs_share_row` (the network must be told the same). With R =
    `rows_per_image` these pairs stay together: text features are then [R, length], a pair in each
    row, and the images are encoded once for all. The lengths of `inputs` and `targets` are those of
    the group, of which every row gets an equal part; a group of fewer pairs leaves rows empty, of
    more pairs the first R are taken.

    An image that cannot be decoded becomes a masked black frame; if an example has no other, its
    loss weights are 0: training skips it, it is counted and named in `bad_data`, and evaluation,
    which sees `image_mask` all false, counts it as wrong.

    With `names`, each example also has a feature `name`, a string: its task and id as JSON, for the
    loop that trains; no device takes it.
    """

    TASK_FEATURES = {
        'images': Spec(tf.string),
        'inputs': Spec(tf.int32),
        'targets': Spec(tf.int32),
    }
    PACKING_FEATURE_DTYPES: Mapping[str, tf.dtypes.DType] = {}

    def __init__(
        self,
        wiring: str = 'decoder_prefix',
        max_pixels: int = MAX_PIXELS,
        pack: bool = False,
        frame: Frame | None = None,
        pairs_share_row: bool = False,
        rows_per_image: int = 1,
        names: bool = False,
        form: PromptForm | None = None,
        **options: Any,
    ):
        if wiring not in MODEL_FEATURES:
            raise unknown_name('wiring', wiring, MODEL_FEATURES, 'ImageTextFeatureConverter.wiring')
        if pack:
            raise UserError(
                'pack=True cannot be used with images: SeqIO would join the images of unrelated '
                'examples. Use tasks that group the questions of one image instead.'
            )
        self._one_pair_each = wiring == 'fusion_encoder' or (
            wiring == 'prefix_lm' and not pairs_share_row
        )
        if rows_per_image < 1:
            raise UserError(f'ROWS_PER_IMAGE = {rows_per_image} is less than 1.')
        if rows_per_image > 1 and not self._one_pair_each:
            raise UserError(
                f'ROWS_PER_IMAGE = {rows_per_image} in the wiring {wiring}: there the pairs of an '
                'image share one row; bind it to 1.'
            )
        self._rows = rows_per_image
        self.MODEL_FEATURES = dict(MODEL_FEATURES[wiring])
        if rows_per_image > 1:
            for name in self.MODEL_FEATURES.keys() - _IMAGES.keys():
                dtype = self.MODEL_FEATURES[name].dtype
                self.MODEL_FEATURES[name] = Spec(dtype, rank=2, sequence_dim=1)
        if names:
            self.MODEL_FEATURES[NAME] = Spec(tf.string, rank=0)
        self._wiring = wiring
        self._max_pixels = max_pixels
        self._frame = frame or image_frame()
        self._form = form or prompt_form()
        self._decoded: tuple[bytes | None, np.ndarray | None] = (None, None)  # the last image
        if wiring == 'fusion_encoder' and self._form != PLAIN:
            raise UserError(
                'prompts.prompt_form is for the wirings decoder_prefix and prefix_lm; in '
                'fusion_encoder prompts go to an encoder and end with EOS.'
            )
        # Rows are cut to their lengths here; SeqIO's assertions cost as much as laying them out.
        super().__init__(pack=False, **{'apply_length_check': False, **options})

    def get_model_feature_lengths(self, task_feature_lengths: Mapping[str, int]) -> dict[str, int]:
        images, *texts = (task_feature_lengths[k] for k in ('images', 'inputs', 'targets'))
        if any(length % self._rows for length in texts):
            raise UserError(
                f'TASK_FEATURE_LENGTHS = {dict(task_feature_lengths)}: each of ROWS_PER_IMAGE = '
                f'{self._rows} rows has an equal part of the prompt and of the answer tokens; bind '
                'multiples of it.'
            )
        prompt, answer = (length // self._rows for length in texts)
        lengths = {'images': images, 'image_mask': images, NAME: 1}
        row = answer if self._wiring == 'fusion_encoder' else prompt + answer
        for name in self.MODEL_FEATURES:
            if name not in lengths:
                lengths[name] = prompt if name == 'encoder_input_tokens' else row
        return {name: lengths[name] for name in self.MODEL_FEATURES}

    def feature_shapes(self, task_feature_lengths: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """The shape of each model feature of an example."""
        lengths = self.get_model_feature_lengths(task_feature_lengths)
        # The last 0, 1 or 2 axes, as many as the feature has.
        shapes = {
            name: (self._rows, length)[2 - self.MODEL_FEATURES[name].rank :]
            for name, length in lengths.items()
        }
        return shapes | {'images': (lengths['images'], *self._frame.size, 3)}

    def _convert_features(
        self, ds: tf.data.Dataset, task_feature_lengths: Mapping[str, int]
    ) -> tf.data.Dataset:
        lengths = self.get_model_feature_lengths(task_feature_lengths)
        if self._one_pair_each and self._rows == 1:
            ds = ds.flat_map(_one_pair_each)
        shapes = self.feature_shapes(task_feature_lengths)
        texts = [name for name in shapes if name not in ('images', NAME)]
        sizes = [math.prod(shapes[name]) for name in texts]

        def make(*chunk: np.ndarray) -> list[np.ndarray]:
            return self._converted(chunk, lengths, shapes, texts)

        def convert(features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            arguments = [features[name] for name in ('images', 'inputs', 'targets')]
            dtypes = [tf.int32, tf.uint8, tf.string]
            numbers, images, names = numpy_function(make, arguments, dtypes, stateful=False)
            converted = {'images': images, NAME: names}
            for name, part in zip(texts, tf.split(numbers, sizes, axis=1), strict=True):
                shaped = tf.reshape(part, (-1, *shapes[name])) if self._rows > 1 else part
                converted[name] = tf.cast(shaped, self.MODEL_FEATURES[name].dtype)
            return {
                name: tf.ensure_shape(converted[name], (None, *shapes[name]))
                for name in self.MODEL_FEATURES
            }

        if ds.element_spec.keys() != self.TASK_FEATURES.keys():
            ds = ds.map(lambda features: {name: features[name] for name in self.TASK_FEATURES})
        chunks = in_chunks(ds, DECODED).map(convert, num_parallel_calls=tf.data.AUTOTUNE)
        examples, count = chunks.unbatch(), ds.cardinality()
        if count < 0:  # unknown or infinite
            return examples
        # T5X asks how many there are, and `unbatch` has forgotten.
        return examples.apply(tf.data.experimental.assert_cardinality(count))

    def _converted(
        self,
        chunk: Sequence[np.ndarray],
        lengths: Mapping[str, int],
        shapes: Mapping[str, tuple[int, ...]],
        texts: Sequence[str],
    ) -> list[np.ndarray]:
        """The features of the examples of a chunk: all `texts` as int32[c, N], images, names.

        Weights and masks are 0 and 1. A graph of small TensorFlow operations would cost more than
        their work, and so would every array.
        """
        examples = list(zip(*chunk, strict=True))
        images = np.zeros((len(examples), *shapes['images']), np.uint8)
        numbers, names = [], []
        for example, room in zip(examples, images, strict=True):
            files = [data for data in example[0] if data != NO_STRING]
            row = self._text(*(ids[ids != NO_NUMBER] for ids in example[1:]), lengths)
            row['image_mask'] = self._load(files, room)
            row['decoder_loss_weights'] *= row['image_mask'].any()
            numbers.append(
                np.concatenate(
                    [row[name].ravel() for name in texts], dtype=np.int32, casting='unsafe'
                )
            )
            names.append(_name(files))
        return [np.stack(numbers), images, np.array(names, object)]

    def _text(
        self, inputs: np.ndarray, targets: np.ndarray, lengths: Mapping[str, int]
    ) -> dict[str, np.ndarray]:
        if self._rows == 1:
            return make_row(self._wiring, inputs, targets, lengths, self._form)
        pairs = (segments(inputs), segments(targets))
        rows = [
            make_row(
                self._wiring, inputs[pairs[0] == i], targets[pairs[1] == i], lengths, self._form
            )
            for i in range(self._rows)
        ]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def _load(self, files: Sequence[bytes], images: np.ndarray) -> np.ndarray:
        """Fills `images`, uint8[n, H, W, 3] of zeros, and says which of the n there are."""
        mask = np.zeros(len(images), bool)
        for i, tagged in enumerate(files[: len(images)]):
            try:
                images[i] = self._pixels(tagged)
                mask[i] = True
            except ImageError as error:
                bad_data.add('undecodable_images', read_tag(tagged)[1], str(error))
        return mask

    def _pixels(self, tagged: bytes) -> np.ndarray:
        """The decoded image, uint8[H, W, 3]: once for questions about it that follow each other."""
        last, pixels = self._decoded
        if tagged != last:
            pixels = load_image(
                read_tag(tagged)[2],
                self._frame.size,
                resize_mode=self._frame.resize,
                filter=self._frame.filter,
                max_pixels=self._max_pixels,
                apply_exif=self._frame.apply_exif,
                reduced_jpeg=self._frame.reduced_jpeg,
            )
            self._decoded = tagged, pixels
        return pixels


def _name(files: Sequence[bytes]) -> bytes:
    task, example_id, _ = read_tag(files[0]) if len(files) else ('', '', b'')
    return json.dumps([task, example_id]).encode()


def _one_pair_each(features: Mapping[str, tf.Tensor]) -> tf.data.Dataset:
    def split(tokens: tf.Tensor) -> tf.RaggedTensor:
        pair = tf.cumsum(tf.cast(tokens == EOS_ID, tf.int32), exclusive=True)
        return tf.RaggedTensor.from_value_rowids(tokens, pair)

    columns = {name: split(features[name]) for name in ('inputs', 'targets')}
    rows = tf.data.Dataset.from_tensor_slices(columns)
    return rows.map(lambda row: {'images': features['images'], **row})
