"""Memory in huge pages, where steps run on the CPU."""

import importlib.metadata
import importlib.util
import os
import platform
import sys

VARIABLE, SETTING = 'GLIBC_TUNABLES', 'glibc.malloc.hugetlb'


def use_huge_pages() -> None:
    """Begins this process anew with memory in huge pages, where steps run on the CPU.

    On the CPU a step's buffers come from malloc. glibc gives large ones back to the system when the
    step ends, so that the next one waits for every page again, but for one in 512 where pages are
    huge (benchmarks/huge_pages.py). glibc reads its tunables when a process begins (its manual,
    "Memory Allocation Tunables"), so call this before anything that is to last.

    Returns where that is so already, the tunable is set otherwise, the C library is not glibc or
    JAX may run on an accelerator.
    """
    tunables = os.environ.get(VARIABLE, '')
    if SETTING in tunables or platform.libc_ver()[0] != 'glibc' or _has_accelerator_plugin():
        return
    os.environ[VARIABLE] = ':'.join(filter(None, [tunables, f'{SETTING}=1']))
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _has_accelerator_plugin() -> bool:
    """Whether JAX may run on something else, where a step's buffers are not in this memory."""
    found = (importlib.util.find_spec(name) for name in ('jax_plugins', 'libtpu'))
    return any(found) or bool(importlib.metadata.entry_points(group='jax_plugins'))
