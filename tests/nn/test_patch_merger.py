"""PatchMerger against its formula."""

import jax.numpy as jnp
import numpy as np

from vlm.nn.patch_merger import PatchMerger

from miniature import random_params


def test_patch_merger_equals_its_formula():
    x = np.random.default_rng(0).normal(size=(2, 5, 4))
    params = random_params(PatchMerger(3), jnp.asarray(x, jnp.float32))
    p = {name: np.asarray(leaf, np.float64) for name, leaf in params['norm'].items()}
    deviation = x - x.mean(-1, keepdims=True)
    normed = deviation / np.sqrt((deviation**2).mean(-1, keepdims=True) + 1e-6)
    normed = normed * p['scale'] + p['bias']
    logits = np.asarray(params['queries']) @ normed.transpose(0, 2, 1) / 2  # sqrt(4)
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    found = PatchMerger(3).apply({'params': params}, jnp.asarray(x, jnp.float32))
    assert found.shape == (2, 3, 4)
    np.testing.assert_allclose(found, shares @ normed, rtol=1e-5, atol=1e-5)
