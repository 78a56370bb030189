"""Parameters with logical axis names.

`init` returns a collection `params_axes` beside `params`, in the form T5X asks for, and parameters
stay plain arrays. The names are those T5X's partition rules and its Adafactor both know: vocab,
embed, mlp, heads, kv, joined_kv, relpos_buckets, and expert for those of V-MoE; None for an axis
that is never sharded.
"""

from collections.abc import Callable

from flax import linen as nn
from flax.errors import ScopeParamShapeError
from flax.linen.partitioning import param_with_axes, with_sharding_constraint
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

Initializer = Callable[..., Array]


def parameter(
    module: nn.Module,
    name: str,
    init: Initializer,
    shape: tuple[int, ...],
    *,
    axes: tuple[str | None, ...],
) -> Float[Array, '...']:
    """The parameter of `module`, made by `init(key, shape)` where there is none.

    Raises:
      ScopeParamShapeError: there is one of another shape.
    """
    if module.is_mutable_collection('params_axes') or not module.has_variable('params', name):
        return param_with_axes(name, init, shape, axes=axes, module=module)
    # flax would trace `init` to see its shape, at every use of the parameter.
    value = module.get_variable('params', name)
    if value.shape != shape:
        raise ScopeParamShapeError(name, module.scope.path_text, value.shape, shape)
    return with_sharding_constraint(value, PartitionSpec(*axes))
