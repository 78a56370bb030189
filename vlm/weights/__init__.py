"""Public checkpoints: read, fitted to a network, and compared with the reference implementations.

`open_checkpoint` finds out what a path holds, `make_plan` decides from shapes alone what becomes of
every tensor, `load` carries it out.
"""

from vlm.weights.checkpoint import open_checkpoint
from vlm.weights.load import load, summary
from vlm.weights.plan import Plan, make_plan

__all__ = ['Plan', 'load', 'make_plan', 'open_checkpoint', 'summary']
