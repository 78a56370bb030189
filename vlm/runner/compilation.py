"""JAX's persistent compilation cache, in the user's cache folder.

A program that was compiled once on a machine is read from disk the next time.
"""

import hashlib
import platform
import sys
from pathlib import Path

import gin
import jax

from vlm.paths import user_cache_dir


@gin.configurable(module='vlm.runner.compilation')
def compilation_cache(enabled: bool = True) -> None:
    """Turns the cache on or off; call it before anything is compiled.

    A folder given by JAX's own setting (JAX_COMPILATION_CACHE_DIR) stays.
    """
    jax.config.update('jax_enable_compilation_cache', enabled)
    if not enabled or jax.config.jax_compilation_cache_dir is not None:
        return
    folder = user_cache_dir() / 'jax' / _processor()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f'warning: no compilation cache in {folder}: {error.strerror}.', file=sys.stderr)
        return
    jax.config.update('jax_compilation_cache_dir', str(folder))


def step_options() -> dict[str, int]:
    """Options for `jax.jit` of a program that is called at every step.

    On the CPU loops are optimised at a level less than the compiler would by itself: the run begins
    sooner, and the demo's steps take as long. Other backends need not know the option.
    """
    return _optimisation_level(2)


def run_once_options() -> dict[str, int]:
    """Options for `jax.jit` of a program that is called once: less time in the compiler.

    On the CPU the program that draws the demo's parameters took half the time and drew the same
    bits.
    """
    return _optimisation_level(1)


def _optimisation_level(level: int) -> dict[str, int]:
    return {'xla_backend_optimization_level': level} if jax.default_backend() == 'cpu' else {}


def _processor() -> str:
    """A name for processors that run the same programs.

    A home folder may be shared by machines of different kinds, and JAX's key does not tell whose
    instructions a program for the CPU uses.
    """
    known = [platform.machine(), platform.processor()]
    flags = Path('/proc/cpuinfo')
    if flags.exists():
        lines = flags.read_text(errors='replace').splitlines()
        known += sorted({x for x in lines if x.startswith(('flags', 'Features', 'model name'))})
    return hashlib.sha256('\n'.join(known).encode()).hexdigest()[:12]
