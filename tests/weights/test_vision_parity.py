"""Vision towers of Hugging Face: random weights in, the same hidden states out of every layer."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlm.errors import UserError
from vlm.nn.network import NetworkConfig
from vlm.nn.t5 import TextConfig
from vlm.nn.vit import Vit, VitConfig
from vlm.weights import open_checkpoint

from parity import assert_close, imported, randomised, saved

torch = pytest.importorskip('torch', reason='needs the extra parity')
transformers = pytest.importorskip('transformers', reason='needs the extra parity')

pytestmark = pytest.mark.parity

TEXT = TextConfig(9, 16, 1, num_heads=2, head_dim=8, mlp_dim=16)
SIZES = {
    'hidden_size': 24,
    'num_hidden_layers': 3,
    'num_attention_heads': 3,
    'intermediate_size': 40,
    'image_size': 24,
    'patch_size': 8,
}
VISION = VitConfig((24, 24), 8, width=24, num_layers=3, num_heads=3, mlp_dim=40)
VIT = {'activation': 'gelu_exact', 'norm_epsilon': 1e-12, 'num_registers': 1}
CLIP = {'activation': 'quick_gelu', 'norm_epsilon': 1e-5, 'num_registers': 1, 'pre_norm': True}
PIXELS = np.random.default_rng(1).uniform(0, 1, (2, 24, 24, 3)).astype(np.float32)


def normalised(mean: float | tuple, std: float | tuple):
    """The pictures as the reference wants them."""
    return torch.from_numpy(((PIXELS - mean) / std).astype(np.float32)).permute(0, 3, 1, 2)


def ours(path: str, images=PIXELS, **options):
    """Outputs of all blocks and of the encoder, with the class token (our register) in front."""
    vision = dataclasses.replace(VISION, **options)
    params, _ = imported(path, 'vision', NetworkConfig(vision, TEXT))
    return run(vision, params['vision'], images)


def run(vision: VitConfig, params, images):
    states, sown = Vit(vision).apply(
        {'params': params},
        jnp.asarray(images) * 2 - 1,
        capture_intermediates=True,
        mutable=['intermediates'],
    )
    if vision.scan_layers:
        return [], states
    blocks = [sown['intermediates'][f'layers_{i}']['__call__'][0][0] for i in range(3)]
    if vision.num_registers:
        blocks = [np.concatenate([x[:, -1:], x[:, :-1]], axis=1) for x in blocks]
    return blocks, states


def assert_same_states(got, output, first_token: int):
    blocks, states = got
    assert len(output.hidden_states) == 4
    for block, theirs in zip(blocks, output.hidden_states[1:], strict=True):
        assert_close(block, theirs)
    assert_close(states, output.last_hidden_state[:, first_token:])


@pytest.mark.parametrize('qkv_bias', [True, False])
def test_vit(tmp_path, qkv_bias):
    config = transformers.ViTConfig(**SIZES, qkv_bias=qkv_bias)
    model = randomised(transformers.ViTModel(config))
    path = saved(model, tmp_path)
    with torch.no_grad():
        output = model(normalised(0.5, 0.5), output_hidden_states=True)
    assert_same_states(ours(path, qkv_bias=qkv_bias, **VIT), output, 1)


def test_vit_of_a_classifier_in_shards_and_float16_into_a_scanned_stack(tmp_path):
    model = randomised(transformers.ViTForImageClassification(transformers.ViTConfig(**SIZES)))
    path = saved(model.half(), tmp_path, max_shard_size='10KB')
    assert (tmp_path / 'model.safetensors.index.json').exists()
    with torch.no_grad():
        output = model.float().vit(normalised(0.5, 0.5), output_hidden_states=True)
    assert_same_states(ours(path, **VIT), output, 1)
    assert_close(ours(path, scan_layers=True, **VIT)[1], output.last_hidden_state[:, 1:])


def test_a_pickle_is_read_where_that_is_allowed(tmp_path):
    model = randomised(transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**SIZES)))
    path = saved(model, tmp_path)
    safe, _ = open_checkpoint(path)
    tensors = {name: tensor.bfloat16() for name, tensor in model.state_dict().items()}
    (tmp_path / 'model.safetensors').unlink()
    torch.save(tensors, tmp_path / 'pytorch_model.bin')
    source, _ = open_checkpoint(path, allow_pickle=True)
    assert set(source.shapes) == set(safe.shapes) and source.shapes['head.probe'] == (1, 1, 24)
    bias = 'embeddings.patch_embedding.bias'
    np.testing.assert_array_equal(source.read(bias), tensors[bias].float())


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ('a pickle was executed',))


def test_nothing_but_tensors_is_read_from_a_pickle(tmp_path):
    (tmp_path / 'config.json').write_text('{"model_type": "vit"}')
    torch.save({'a': torch.ones(1), 'b': Bomb()}, tmp_path / 'pytorch_model.bin')
    with pytest.raises(UserError, match='more than tensors'):
        open_checkpoint(str(tmp_path), allow_pickle=True)
    (tmp_path / 'pytorch_model.bin').write_bytes(b'broken')
    with pytest.raises(UserError, match='damaged'):
        open_checkpoint(str(tmp_path), allow_pickle=True)


def test_siglip(tmp_path):
    model = randomised(transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**SIZES)))
    path = saved(model, tmp_path)
    with torch.no_grad():
        output = model(normalised(0.5, 0.5), output_hidden_states=True)
    assert_same_states(ours(path), output, 0)


def test_the_vision_tower_of_a_whole_siglip(tmp_path):
    text = {'hidden_size': 8, 'num_hidden_layers': 1, 'num_attention_heads': 1}
    config = transformers.SiglipConfig(
        vision_config=SIZES, text_config={**text, 'intermediate_size': 8, 'vocab_size': 50}
    )
    model = randomised(transformers.SiglipModel(config))
    path = saved(model, tmp_path)
    with torch.no_grad():
        output = model.vision_model(normalised(0.5, 0.5), output_hidden_states=True)
    assert_same_states(ours(path), output, 0)


def test_siglip_2_of_any_aspect(tmp_path):
    sizes = {name: value for name, value in SIZES.items() if name != 'image_size'}
    config = transformers.Siglip2VisionConfig(**sizes, num_patches=16)
    model = randomised(transformers.Siglip2VisionModel(config))
    path = saved(model, tmp_path)
    # 24 x 24 pixels make 3 x 3 patches, rows of [height, width, channel]; positions are 4 x 4.
    patches = (PIXELS * 2 - 1).reshape(2, 3, 8, 3, 8, 3).transpose(0, 1, 3, 2, 4, 5)
    with torch.no_grad():
        output = model(
            torch.from_numpy(patches.reshape(2, 9, -1)),
            torch.ones(2, 9, dtype=torch.int32),
            torch.tensor([[3, 3], [3, 3]]),
            output_hidden_states=True,
        )
    assert_same_states(ours(path, position_grid=(4, 4)), output, 0)


@pytest.mark.parametrize('beside', [False, True])
def test_clip(tmp_path, beside):
    """With its own statistics of pixels, or those of a file beside it."""
    model = randomised(transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**SIZES)))
    path = saved(model, tmp_path)
    mean = (0.48145466, 0.4578275, 0.40821073)
    std = (0.26862954, 0.26130258, 0.27577711)
    if beside:
        mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
        transformers.CLIPImageProcessor(image_mean=mean, image_std=std).save_pretrained(path)
    with torch.no_grad():
        output = model(normalised(mean, std), output_hidden_states=True)
        output.last_hidden_state = model.post_layernorm(output.last_hidden_state)
    assert_same_states(ours(path, **CLIP), output, 1)


def test_another_resolution_and_patch_size_sees_the_same_picture(tmp_path):
    """A picture enlarged three times, at three times the patch size, has the same tokens."""
    model = randomised(transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**SIZES)))
    path = saved(model, tmp_path)
    _, states = ours(path)
    large = jax.image.resize(PIXELS.reshape(2, 3, 8, 3, 8, 3), (2, 3, 24, 3, 24, 3), 'bilinear')
    _, again = ours(
        path, np.asarray(large).reshape(2, 72, 72, 3), image_size=(72, 72), patch_size=24
    )
    assert_close(again, states, 1e-4)
