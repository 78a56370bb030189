"""Memory that stays with the process."""

import mmap
import platform
import subprocess
import sys

import pytest

# Pages waited for while 64 MiB are written for the second time, in the main thread or in another.
FAULTS = """
import resource, threading
from unittest import mock
from vlm.runner import host_memory
libc = mock.patch.object(host_memory.platform, 'libc_ver', lambda: ({libc!r}, ''))
plugin = mock.patch.object(host_memory, '_has_accelerator_plugin', lambda: {plugin})
if {keeps}:
    with plugin, libc:
        host_memory.keep_freed_memory()
def write():
    b'x' * 2**26
def faults():
    write()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    write()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
faults()
thread = threading.Thread(target=faults)
thread.start()
thread.join()
"""


def faults(keeps: bool, plugin: bool = False, libc: str = 'glibc') -> list[int]:
    code = FAULTS.format(keeps=keeps, plugin=plugin, libc=libc)
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    return [int(line) for line in done.stdout.split()]


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='the C library is not glibc')
def test_freed_memory_stays_on_the_cpu_alone():
    least = 2**26 // mmap.PAGESIZE // 2
    assert max(faults(keeps=True)) < least / 100
    assert min(faults(keeps=False)) > least
    assert min(faults(keeps=True, plugin=True)) > least
    assert min(faults(keeps=True, libc='')) > least
