"""The numeric core works where TensorFlow, SeqIO and gin cannot be imported at all."""

import subprocess
import sys

CORE = """
import functools
import sys

BLOCKED = {'tensorflow', 'tensorflow_text', 'tensorflow_datasets', 'seqio', 'gin'}


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in BLOCKED:
            raise ImportError(f'blocked: {name}')


sys.meta_path.insert(0, Blocker())
for name in BLOCKED:
    try:
        __import__(name)
    except ImportError as error:
        assert str(error) == f'blocked: {name}', error
    else:
        raise AssertionError(name)

import vlm
import vlm.boxes
import vlm.data.images
import vlm.data.rows
import vlm.decoding
import vlm.losses
import vlm.vocab
from vlm.model import VisionTextModel
from vlm.nn.network import NetworkConfig, VisionTextNetwork
from vlm.nn.t5 import TextConfig
from vlm.nn.vit import VitConfig

import jax
import jax.numpy as jnp


def make(wiring):
    vision = VitConfig((8, 8), 4, width=16, num_layers=1, num_heads=2, mlp_dim=16)
    layers = int(wiring == 'fusion_encoder')
    text = TextConfig(9, 16, 1, layers, num_heads=2, head_dim=8, mlp_dim=16)
    model = VisionTextModel(VisionTextNetwork(NetworkConfig(vision, text, wiring)))
    batch = {
        'images': jnp.zeros((1, 1, 8, 8, 3), jnp.uint8),
        'image_mask': jnp.ones((1, 1), bool),
        'decoder_input_tokens': jnp.array([[0, 5, 1, 0]]),
    }
    if layers:
        batch['encoder_input_tokens'] = jnp.array([[5, 1]])
    else:
        batch['decoder_prefix_mask'] = jnp.array([[1, 1, 1, 0]], bool)
    shapes = {name: value.shape for name, value in batch.items()}
    init = lambda key: model.get_initial_variables(key, shapes)
    # Any parameters do; compiling the initialisers would take longer than all the rest.
    declared = jax.eval_shape(init, jax.random.key(0))['params']
    params = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.1), declared)
    predict = functools.partial(model.predict_batch, max_decode_length=2)
    return predict, params, batch


predict, *arguments = make('fusion_encoder')
print(jax.eval_shape(predict, *arguments).shape)
predict, *arguments = make('decoder_prefix')
print(jax.jit(predict)(*arguments).shape)
assert not BLOCKED & {name.split('.')[0] for name in sys.modules}
"""


def test_core_runs_without_tensorflow_seqio_and_gin():
    done = subprocess.run([sys.executable, '-c', CORE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == '(1, 2)\n(1, 2)\n'
