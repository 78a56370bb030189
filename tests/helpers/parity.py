"""Small reference models with random weights, and our networks with the same weights."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from vlm.nn.network import NetworkConfig, VisionTextNetwork
from vlm.weights import load, make_plan, open_checkpoint

# float32 through a few layers, summed in another order.
RELATIVE = 2e-5


def randomised(model, seed: int = 0):
    """The reference with every parameter drawn anew: fresh norms and biases would hide mistakes."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            spread = 0.3 if parameter.ndim == 1 else parameter.shape[-1] ** -0.5
            if 'embed' in name or 'shared' in name:
                spread = 0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
            # Gemma's norms multiply by 1 + weight.
            if parameter.ndim == 1 and 'weight' in name and 'language_model' not in name:
                parameter.add_(1.0)
    return model.eval()


def saved(model, folder: Path, **options) -> str:
    """The folder that the reference saves itself to."""
    model.save_pretrained(folder, **options)
    return str(folder)


def abstract_params(config: NetworkConfig):
    """Shapes of a network's parameters."""
    height, width = config.vision.image_size
    batch = {
        'images': jnp.zeros((1, 1, height, width, 3), jnp.uint8),
        'image_mask': jnp.ones((1, 1), bool),
        'decoder_input_tokens': jnp.zeros((1, 4), jnp.int32),
        'encoder_input_tokens': jnp.zeros((1, 4), jnp.int32),
    }
    init = VisionTextNetwork(config).init
    return jax.eval_shape(init, jax.random.key(0), batch)['params']


def imported(path: str, part: str, config: NetworkConfig, **options):
    """The parameters of a part, read from a checkpoint, and the plan that they were read by."""
    params = abstract_params(config)
    shapes = {
        jax.tree_util.keystr(at, simple=True, separator='/'): leaf.shape
        for at, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    plan = make_plan(*open_checkpoint(path), part, shapes, config, **options)
    return load(params, plan, config), plan


def assert_close(ours, theirs, relative: float = RELATIVE) -> None:
    theirs = theirs.detach().numpy() if hasattr(theirs, 'detach') else np.asarray(theirs)
    assert np.isfinite(theirs).all()
    scale = np.abs(theirs).max()
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=relative, atol=relative * scale)
