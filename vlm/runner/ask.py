"""Asking a trained model about one image: no TensorFlow, no gin, seconds from the command."""

import dataclasses
import functools
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from vlm.boxes import clip_box, turn_back
from vlm.data.image_files import ImageError, exif_orientation
from vlm.data.images import load_image, stored_box, viewed_size
from vlm.data.rows import prompt_row
from vlm.errors import UserError
from vlm.model import VisionTextModel
from vlm.nn.network import VisionTextNetwork
from vlm.runner.checkpoints import restore_params
from vlm.runner.model_file import Serving
from vlm.runner.run_dir import RunDir
from vlm.vocab import EOS_ID, Tokenizer, escape, unescape


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the model said.

    Attributes:
      prompt: as it was put to the model.
      text: the answer.
      score: its log-probability.
      boxes: ([y_min, x_min, y_max, x_max] in [0, 1] of the stored image, label).
    """

    prompt: str
    text: str
    score: float
    boxes: list[tuple[tuple[float, float, float, float], str]]


class Predictor:
    """A run's model, ready to be asked."""

    def __init__(self, serving: Serving, params: Any, tokenizer: Tokenizer):
        self.serving = serving
        self.tokenizer = tokenizer
        self._params = params
        self._model = VisionTextModel(VisionTextNetwork(serving.network))
        self._predict = jax.jit(
            functools.partial(
                self._model.predict_batch_with_aux, max_decode_length=serving.lengths['targets']
            )
        )

    @classmethod
    def load(cls, run_dir: str | os.PathLike[str]) -> 'Predictor':
        """Loads the latest checkpoint of a run directory; `UserError` where there is none."""
        run = RunDir.existing(run_dir)
        serving = Serving.from_json(run.read_json(run.model))
        return cls(serving, restore_params(run)[1], Tokenizer(run.vocabulary))

    def ask(self, image: bytes, question: str) -> Answer:
        """Answers a question, or a prompt of one of the run's tasks, about an encoded image.

        Raises:
          UserError: the image cannot be decoded, or the prompt is too long.
        """
        frame = self.serving.frame
        try:
            pixels = load_image(
                image,
                tuple(frame['size']),
                resize_mode=frame['resize'],
                filter=frame['filter'],
                # Runs of before these options have neither.
                apply_exif=frame.get('apply_exif', False),
                reduced_jpeg=frame.get('reduced_jpeg', False),
            )
        except ImageError as error:
            raise UserError(str(error)) from error
        prompt = self.prompt_for(question)
        batch = {
            'images': np.asarray(pixels)[None, None],
            'image_mask': np.ones((1, 1), bool),
            **{name: value[None] for name, value in self._row(prompt).items()},
        }
        tokens, aux = self._predict(self._params, batch)
        text = self.tokenizer.decode(np.asarray(tokens)[0].tolist())
        boxes = self._boxes(text, image)
        return Answer(prompt, unescape(text).strip(), float(aux['scores'][0]), boxes)

    def prompt_for(self, question: str) -> str:
        """The prompt of a question: as it is if a task asks like that, else as a question.

        'ocr', 'detect 7' and 'answer en is it red?' begin like templates of the run's tasks; 'is it
        red?' does not and is put into the template that has a `{question}`.
        """
        question = escape(question.strip())
        templates = self.serving.prompts.values()
        starts = [template.split('{')[0].rstrip() for template in templates]
        if any(question == s or (s and question.startswith(s + ' ')) for s in starts):
            return question
        for template in templates:
            if '{question}' in template:
                return template.format(question=question)
        return question

    def _row(self, prompt: str) -> Mapping[str, np.ndarray]:
        ids = np.array([*self.tokenizer.encode(prompt), EOS_ID], np.int32)
        room, answer = self.serving.lengths['inputs'], self.serving.lengths['targets']
        if len(ids) > room:
            raise UserError(
                f'the prompt has {len(ids)} tokens, this model takes {room}: {prompt!r}'
            )
        if self.serving.network.wiring == 'fusion_encoder':
            return {
                'encoder_input_tokens': _padded(ids, room),
                'decoder_input_tokens': np.zeros(answer, np.int32),
            }
        row = prompt_row(ids, self.serving.prompt_form)
        names = ('decoder_input_tokens', 'decoder_prefix_mask')
        return {name: _padded(row[name], room + answer) for name in names}

    def _boxes(self, text: str, image: bytes) -> list[tuple[tuple[float, ...], str]]:
        frame, codecs = self.serving.frame, self.serving.codecs
        found = max((codec.parse(text).objects for codec in codecs.values()), key=len, default=[])
        turned = frame.get('apply_exif', False)
        size = viewed_size(image, apply_exif=turned)
        orientation = exif_orientation(image) if turned else 1
        boxes = []
        for entry in found:
            box = stored_box(entry.box, size, tuple(frame['size']), frame['resize'])
            box = turn_back(box, orientation)
            boxes.append((tuple(float(x) for x in clip_box(box)), entry.label))
        return boxes


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    return np.pad(values, (0, length - len(values)))
