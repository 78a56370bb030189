"""LocCa's pretraining (2403.19596): three tasks of every image, each loss weighing the same."""

from vlm.data.mixtures import add_mixture
from vlm.tasks import web  # noqa: F401  (registers the tasks)

add_mixture(
    'locca',
    rates={'web_locca': 1.0},
    origin='one group: Cap, ARef and GCap of every image, as published (2403.19596)',
)
