"""Memory that the C library keeps for the next step."""

import ctypes
import importlib.metadata
import importlib.util
import platform

# Of glibc's <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Makes freed memory stay with the process, where steps run on the CPU; before any thread.

    On the CPU a step's buffers come from malloc. glibc gives large ones back to the system when the
    step ends, so that the next one waits for every page again (benchmarks/freed_memory.py).
    """
    if platform.libc_ver()[0] != 'glibc' or _has_accelerator_plugin():
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, NEVER)
    # A heap of a thread's own is given back whole whenever it is empty.
    libc.mallopt(M_ARENA_MAX, 1)


def _has_accelerator_plugin() -> bool:
    """Whether JAX may run on something else, where a step's buffers are not in this memory."""
    found = (importlib.util.find_spec(name) for name in ('jax_plugins', 'libtpu'))
    return any(found) or bool(importlib.metadata.entry_points(group='jax_plugins'))
