"""Experts in place of a block's MLP, of which each token visits a few: V-MoE (2106.05974).

Letters of this file beside the package's: G groups, T tokens of a group, E experts, J choices of a
token, Q places in an expert's queue.
"""

import functools
import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from vlm.nn.layers import ACTIVATIONS, Dense, Dtype
from vlm.nn.parameters import parameter
from vlm.nn.vit_config import VitConfig

# Modules sow terms of the loss into this collection, each under its name and times its coefficient.
LOSSES = 'losses'


def expert_capacity(tokens: int, experts: int, selected: int, factor: float) -> int:
    """Room of an expert for a group of tokens: `factor` times the mean, up to a multiple of 4.

    Never more than `tokens`: a token visits an expert once.
    """
    room = math.ceil(tokens * selected * factor / experts)
    return min(4 * math.ceil(room / 4), tokens)


def queue_places(
    experts: Int[Array, 'T J'], order: Int[Array, ' T'], num_experts: int
) -> Int[Array, 'T J']:
    """The place of every choice in its expert's queue, from 0.

    All first choices stand before all second ones, and among equals the tokens stand in `order`.
    """
    tokens, choices = experts.shape
    queue = jax.nn.one_hot(experts[order].T.reshape(-1), num_experts, dtype=jnp.int32)
    ahead = jnp.cumsum(queue, axis=0) - queue
    places = jnp.sum(ahead * queue, axis=-1).reshape(choices, tokens).T
    return jnp.zeros_like(places).at[order].set(places)


def route(
    gates: Float[Array, 'T E'], selected: int, capacity: int, batch_priority: bool
) -> Bool[Array, 'T E Q']:
    """Which token of a group takes which place of which expert; choices without room are dropped.

    Tokens get room in their order, or with `batch_priority` those with the largest weight first
    (batch prioritized routing, V-MoE, 4.1).
    """
    weights, experts = jax.lax.top_k(gates, selected)
    order = jnp.argsort(-weights[:, 0]) if batch_priority else jnp.arange(len(gates))
    places = queue_places(experts, order, gates.shape[-1])
    # A place beyond the capacity has no column, so its row of the one-hot matrix is empty.
    chosen, place = jax.nn.one_hot(experts, gates.shape[-1]), jax.nn.one_hot(places, capacity)
    return jnp.einsum('TJE,TJQ->TEQ', chosen, place) > 0


def squared_variation(x: Float[Array, '... E']) -> Float[Array, '...']:
    """(standard deviation / mean)^2 over experts: 0 where all have the same."""
    return jnp.var(x, axis=-1) / jnp.square(jnp.mean(x, axis=-1))


def importance_loss(logits: Float[Array, 'G T E']) -> Float[Array, '']:
    """How unevenly weight is spread over the experts, before noise (V-MoE, A.2); mean of groups."""
    return jnp.mean(squared_variation(jnp.sum(jax.nn.softmax(logits), axis=1)))


def load_loss(
    logits: Float[Array, 'G T E'], noisy: Float[Array, 'G T E'], noise: float, selected: int
) -> Float[Array, '']:
    """How unevenly tokens are spread over the experts (V-MoE, A.2); mean of groups.

    Counts cannot be differentiated. So each is replaced by the sum of the probabilities that an
    expert would reach what the last chosen one has in `noisy`, were its noise, of standard
    deviation `noise`, drawn again.
    """
    threshold = jax.lax.top_k(noisy, selected)[0][..., -1:]
    chance = jax.scipy.stats.norm.sf((threshold - logits) / noise)
    return jnp.mean(squared_variation(jnp.sum(chance, axis=1)))


class ExpertDense(nn.Module):
    """`[E, N, I] -> [E, N, O]`: a linear layer for each expert, kernel `[E, I, O]`."""

    features: int
    axes: tuple[str, str]
    use_bias: bool = True
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, 'E N I']) -> Float[Array, 'E N O']:
        init = nn.initializers.variance_scaling(1.0, 'fan_in', 'truncated_normal', batch_axis=(0,))
        shape = (x.shape[0], x.shape[-1], self.features)
        kernel = parameter(self, 'kernel', init, shape, axes=('expert', *self.axes))
        y = jnp.einsum('ENI,EIO->ENO', x.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            shape, axes = (x.shape[0], self.features), ('expert', self.axes[1])
            bias = parameter(self, 'bias', nn.initializers.zeros, shape, axes=axes)
            y = y + bias.astype(self.dtype)[:, None]
        return y


class MoeMlp(nn.Module):
    """A router and its experts, each of the shape of the MLP that they replace.

    A token's output is the sum of its experts' outputs, weighted by the router's softmax over all
    experts (not renormalised over those chosen), and 0 where none had room. In training, noise is
    added to the router's logits and the two losses are sown.
    """

    config: VitConfig

    @nn.compact
    def __call__(
        self, x: Float[Array, 'B P D'], *, deterministic: bool = True
    ) -> Float[Array, 'B P D']:
        cfg = self.config
        images = math.gcd(len(x), cfg.moe_group_images)
        tokens = x.reshape(len(x) // images, images * x.shape[1], x.shape[2])
        gates = jax.nn.softmax(self._router_logits(tokens, deterministic))
        factor = cfg.moe_capacity_factor if not deterministic else cfg.moe_eval_capacity_factor
        capacity = expert_capacity(tokens.shape[1], cfg.moe_experts, cfg.moe_selected, factor)
        routes = jax.vmap(
            functools.partial(
                route,
                selected=cfg.moe_selected,
                capacity=capacity,
                batch_priority=cfg.moe_batch_priority,
            )
        )(gates)
        sent = jnp.einsum('GTEQ,GTD->EGQD', routes.astype(cfg.dtype), tokens)
        done = self._experts(sent.reshape(cfg.moe_experts, -1, x.shape[2]), deterministic)
        combine = (routes * gates[..., None]).astype(cfg.dtype)
        y = jnp.einsum('GTEQ,EGQD->GTD', combine, done.reshape(sent.shape))
        return y.reshape(x.shape)

    def _router_logits(
        self, tokens: Float[Array, 'G T D'], deterministic: bool
    ) -> Float[Array, 'G T E']:
        cfg = self.config
        # In float32: rounding changes who is chosen, and softmax weights scale the gradients.
        logits = Dense(cfg.moe_experts, ('embed', None), name='router')(tokens)
        if deterministic:
            return logits
        noise, noisy = cfg.moe_noise / cfg.moe_experts, logits
        if noise:
            noisy = logits + noise * jax.random.normal(self.make_rng('dropout'), logits.shape)
            load = load_loss(logits, noisy, noise, cfg.moe_selected)
            self.sow(LOSSES, 'moe_load_loss', cfg.moe_load_loss * load)
        importance = cfg.moe_importance_loss * importance_loss(logits)
        self.sow(LOSSES, 'moe_importance_loss', importance)
        return noisy

    def _experts(self, x: Float[Array, 'E N D'], deterministic: bool) -> Float[Array, 'E N D']:
        cfg = self.config
        wi = ExpertDense(cfg.mlp_dim, ('embed', 'mlp'), cfg.use_bias, cfg.dtype, name='wi')
        wo = ExpertDense(cfg.width, ('mlp', 'embed'), cfg.use_bias, cfg.dtype, name='wo')
        hidden = ACTIVATIONS[cfg.activation](wi(x))
        return wo(nn.Dropout(cfg.dropout)(hidden, deterministic=deterministic))
