"""A run that starts from a public checkpoint: told, saved, and the same numbers in the state."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from vlm.data.vocabularies import demo_vocabulary_path, vocabulary_path
from vlm.nn.stacks import to_layout
from vlm.runner.checkpoints import restore_params
from vlm.runner.config import GinFlags
from vlm.runner.run_dir import RunDir
from vlm.runner.session import open_session
from vlm.runner.state import TrainState

HF = {
    'model_type': 'siglip_vision_model',
    'hidden_size': 16,
    'num_hidden_layers': 1,
    'num_attention_heads': 2,
    'intermediate_size': 32,
    'patch_size': 8,
    'image_size': 32,
}
LAYER = 'encoder.layers.0.'
SIZES = {
    'embeddings.patch_embedding.weight': (16, 3, 8, 8),
    'embeddings.patch_embedding.bias': (16,),
    'embeddings.position_embedding.weight': (16, 16),
    'post_layernorm.weight': (16,),
    'post_layernorm.bias': (16,),
    'head.probe': (1, 1, 16),
    f'{LAYER}mlp.fc1.weight': (32, 16),
    f'{LAYER}mlp.fc1.bias': (32,),
    f'{LAYER}mlp.fc2.weight': (16, 32),
    f'{LAYER}mlp.fc2.bias': (16,),
}
for _part in ('q_proj', 'k_proj', 'v_proj', 'out_proj'):
    SIZES |= {f'{LAYER}self_attn.{_part}.weight': (16, 16), f'{LAYER}self_attn.{_part}.bias': (16,)}
for _norm in ('layer_norm1', 'layer_norm2'):
    SIZES |= {f'{LAYER}{_norm}.weight': (16,), f'{LAYER}{_norm}.bias': (16,)}


@pytest.fixture(scope='module')
def siglip(tmp_path_factory):
    """A tower of the miniature's sizes, for pictures of twice its side."""
    folder = tmp_path_factory.mktemp('siglip')
    rng = np.random.default_rng(0)
    tensors = {name: rng.normal(size=shape).astype(np.float16) for name, shape in SIZES.items()}
    save_file(tensors, folder / 'model.safetensors')
    (folder / 'config.json').write_text(json.dumps(HF))
    return folder, tensors


def test_a_frozen_encoder_is_the_checkpoints(vlm, siglip, tmp_path, capsys):
    folder, tensors = siglip
    run = tmp_path / 'run'
    options = {
        'VISION_CHECKPOINT': str(folder),
        'FREEZE_VISION': True,
        'TRAIN_STEPS': 1,
        'evaluated': False,
    }
    assert vlm('train', run_dir=run, **options) == 0
    said = capsys.readouterr().out
    assert 'Hugging Face SigLIP' in said and 'vision/position_embedding from (16, 16)' in said
    vision = restore_params(RunDir(run))[1]['vision']
    query = vision['layers_0']['attention']['query']['kernel']
    expected = tensors[f'{LAYER}self_attn.q_proj.weight'].T.astype(np.float32)
    np.testing.assert_array_equal(query, expected)
    (written,) = json.loads((run / 'weights.json').read_text())
    assert list(written['resized']) == ['vision/position_embedding']
    assert written['unused'] == ['head.probe']
    assert written['restored']['vision/norm/scale'] == ['post_layernorm.weight']


def test_an_exported_run_is_another_ones_start(vlm, trained, tiny_gin, tmp_path, capsys):
    """Bit for bit, from unrolled stacks into scanned ones, into the average too."""
    folder = tmp_path / 'out'
    assert vlm('export', str(trained), '--output', str(folder)) == 0
    assert {each.name for each in folder.iterdir()} == {
        'model.safetensors',
        'model.json',
        'vocab.model',
    }
    session = scanned_session(tiny_gin, tmp_path, folder)
    empty = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), session.abstract_params)
    average = jax.tree.map(jnp.copy, empty)
    state = TrainState(jnp.zeros((), jnp.int32), empty, (), average)
    trainer = session.trainer
    state = trainer.pretrained.into(state, trainer.model.module.config)
    source = to_layout(restore_params(RunDir(trained))[1], state.params)
    assert 'layers' in state.params['vision']
    jax.tree.map(np.testing.assert_array_equal, state.params, source)
    jax.tree.map(np.testing.assert_array_equal, state.ema_params, source)


def scanned_session(tiny_gin, tmp_path, checkpoint):
    bindings = {
        'MODEL_DIR': str(tmp_path / 'run'),
        'INITIAL_CHECKPOINT_PATH': str(checkpoint),
        'vit.VitConfig.scan_layers': True,
        't5.TextConfig.scan_layers': True,
    }
    bindings = [f'{name} = {value!r}' for name, value in bindings.items()]
    return open_session(GinFlags([str(tiny_gin)], [], bindings))


def test_the_vocabulary_beside_a_checkpoint_is_used_and_another_is_told(
    vlm, trained, tmp_path, capsys, vocabulary_file
):
    folder = tmp_path / 'out'
    assert vlm('export', str(trained), '--output', str(folder)) == 0
    assert vocabulary_path(None, [None, str(folder)]) == str(folder / 'vocab.model')
    assert vocabulary_path('mine', [str(folder)]) == 'mine'
    assert vocabulary_path(None, [str(tmp_path)]) == demo_vocabulary_path()
    start = {'INITIAL_CHECKPOINT_PATH': str(folder)}
    assert vlm('train', '--dry_run', run_dir=tmp_path / 'run', **start) == 0
    assert 'tokens are those of' not in capsys.readouterr().out
    (folder / 'vocab.model').write_bytes(Path(vocabulary_file).read_bytes())
    start['VOCABULARY'] = demo_vocabulary_path()
    assert vlm('train', '--dry_run', run_dir=tmp_path / 'run', **start) == 0
    assert 'vocab.model is another model' in capsys.readouterr().out


def test_an_unknown_format_names_the_nearest(vlm, trained, capsys):
    assert vlm('export', str(trained), '--format', 'safetensor') == 2
    assert 'Nearest: safetensors' in capsys.readouterr().err


MISTAKES = {
    'VISION_CHECKPOINT': ('nowhere', 'there is no checkpoint nowhere'),
    'vit.VitConfig.num_heads': (4, 'vit.VitConfig.num_heads = 2 (now 4)'),
    'pretrained.Pretrained.allow_new': (('(',), 'is no regular expression'),
    'INITIAL_CHECKPOINT_PATH': ('x', 'is a whole model'),
}


@pytest.mark.parametrize('name', MISTAKES)
def test_mistakes_are_told_before_anything_is_compiled(vlm, siglip, tmp_path, capsys, name):
    value, expected = MISTAKES[name]
    options = {'VISION_CHECKPOINT': str(siglip[0]), name: value}
    assert vlm('train', '--dry_run', run_dir=tmp_path / 'run', **options) == 2
    said = capsys.readouterr().err
    assert expected in said and said.count('\n') <= 2
    assert not (tmp_path / 'run').exists()
