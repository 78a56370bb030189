"""Where arrays live: one mesh axis, `data`, over all devices.

Batches are split over it, parameters are on every device.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vlm.errors import UserError


class DataMesh:
    """A mesh of all devices and the two placements that training uses."""

    def __init__(self):
        self.mesh = Mesh(np.array(jax.devices()), ('data',))
        self.replicated = NamedSharding(self.mesh, PartitionSpec())
        self.batch = NamedSharding(self.mesh, PartitionSpec('data'))

    @property
    def size(self) -> int:
        return self.mesh.size

    def check_batch_size(self, batch_size: int, name: str) -> None:
        """Raises `UserError` for a batch that the devices cannot share evenly."""
        if batch_size % self.size:
            raise UserError(
                f'{name} = {batch_size} cannot be split evenly over {self.size} devices.'
            )

    def put(self, batch: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Sends a batch to the devices."""
        return {name: jax.device_put(value, self.batch) for name, value in batch.items()}
