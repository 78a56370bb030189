"""Gemma's numbering of tokens, and prompts as PaliGemma was trained on them."""

import dataclasses
import io
import json

import gin
import numpy as np
import pytest
import sentencepiece

from vlm.data.converter import ImageTextFeatureConverter
from vlm.data.prompts import prompt_form, prompt_ids
from vlm.data.rows import PromptForm
from vlm.errors import UserError
from vlm.nn.network import NetworkConfig
from vlm.nn.t5 import TextConfig
from vlm.nn.vit import VitConfig
from vlm.runner.ask import Predictor
from vlm.runner.config import GinFlags, load
from vlm.runner.model_file import Serving
from vlm.vocab import Tokenizer


@pytest.fixture(scope='module')
def gemma(tmp_path_factory) -> Tokenizer:
    """A small model that numbers its control pieces as Gemma does."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(['answer en what is it', 'caption en'] * 9),
        model_writer=written,
        vocab_size=40,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        bos_piece='<bos>',
        user_defined_symbols=['\n', '<loc0000>'],
        add_dummy_prefix=False,
        minloglevel=2,
    )
    path = tmp_path_factory.mktemp('gemma') / 'tokenizer.model'
    path.write_bytes(written.getvalue())
    return Tokenizer(path)


def test_gemmas_numbering_is_read(gemma):
    assert (gemma.unk_id, gemma.id_of('<bos>'), gemma.id_of('\n')) == (3, 2, 4)
    assert gemma.encode('\n') == [4] and gemma.location_ids == range(5, 6)
    assert gemma.pieces([gemma.size]) == ['<unk>']
    with pytest.raises(UserError, match="no piece '<start>'"):
        gemma.id_of('<start>')


def test_the_gin_file_binds_the_form(gemma, clean_gin):
    macros = [f'vocabularies.vocabulary_path.path = {str(gemma.path)!r}']
    assert prompt_form() == PromptForm(0, 1)
    load(GinFlags(['models/paligemma_tiny.gin', 'models/paligemma_prompts.gin'], [], macros))
    assert prompt_form() == PromptForm(2, 4)
    assert prompt_ids('what is it') == (*gemma.encode('what is it'), 4)
    gin.clear_config()
    load(GinFlags(['demo.gin'], [], []))
    assert prompt_form() == PromptForm(0, None)
    with pytest.raises(UserError, match='do not show where that prompt ends'):
        prompt_ids('Cap:')
    gin.clear_config()


def test_an_encoder_has_no_form():
    with pytest.raises(UserError, match='prompts.prompt_form is for the wirings'):
        ImageTextFeatureConverter('fusion_encoder', form=PromptForm(2, 4))


def test_a_run_is_asked_in_its_form(gemma):
    """Kept in model.json, where runs of before have none."""
    vision = VitConfig((8, 8), 8, width=8, num_layers=1, num_heads=1, mlp_dim=8)
    config = NetworkConfig(vision, TextConfig(64, 8, 1, num_heads=1, head_dim=8, mlp_dim=8))
    plain = Serving(config, {}, {'inputs': 16, 'targets': 4}, {}, {}, {})
    content = json.loads(json.dumps(plain.to_json()))
    known = Serving.from_json(dict(content))
    del content['prompt_form']
    assert Serving.from_json(content) == known
    text = gemma.encode('what is it')
    for form, first, last in (
        (PromptForm(), 0, [1]),
        (PromptForm(2, 4), 2, [4]),
        (PromptForm(end_id=None), 0, []),
    ):
        formed = dataclasses.replace(plain, prompt_form=form)
        formed = Serving.from_json(json.loads(json.dumps(formed.to_json())))
        row = Predictor(formed, {}, gemma)._row('what is it')
        length = np.count_nonzero(row['decoder_prefix_mask'])
        np.testing.assert_array_equal(row['decoder_input_tokens'][:length], [first, *text, *last])
