"""Memory in huge pages."""

import mmap
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != 'glibc', reason='the C library is not glibc'
)

# Where it begins anew nothing printed before is kept but what was flushed.
BEGUN = """
import os, resource, sys, threading
from unittest import mock
from vlm.runner import host_memory
print('begun', sys.argv[1:], flush=True)
libc = mock.patch.object(host_memory.platform, 'libc_ver', lambda: ({libc!r}, ''))
plugin = mock.patch.object(host_memory, '_has_accelerator_plugin', lambda: {plugin})
with plugin, libc:
    host_memory.use_huge_pages()
def write():
    b'x' * 2**26
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    write()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
faults()
thread = threading.Thread(target=faults)
thread.start()
thread.join()
print(os.environ.get('GLIBC_TUNABLES'))
"""


def run(tunables: str | None = None, plugin: bool = False, libc: str = 'glibc') -> list[str]:
    environment = {k: v for k, v in os.environ.items() if k != 'GLIBC_TUNABLES'}
    if tunables is not None:
        environment['GLIBC_TUNABLES'] = tunables
    command = [sys.executable, '-c', BEGUN.format(plugin=plugin, libc=libc), 'an argument']
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_process_begins_anew_with_huge_pages_and_the_same_arguments():
    first, second, *_, tunables = run('glibc.malloc.check=0')
    assert first == second == "begun ['an argument']"
    assert tunables == 'glibc.malloc.check=0:glibc.malloc.hugetlb=1'


@pytest.mark.parametrize(
    'case',
    [{'plugin': True}, {'libc': ''}, {'tunables': 'glibc.malloc.hugetlb=0'}],
    ids=['an accelerator', 'another C library', 'set otherwise'],
)
def test_a_process_goes_on_as_it_is(case):
    begun, *_, tunables = run(**case)
    assert begun == "begun ['an argument']"
    assert tunables == str(case.get('tunables'))


def test_few_pages_are_waited_for_in_any_thread():
    enabled = Path('/sys/kernel/mm/transparent_hugepage/enabled')
    if not enabled.exists() or '[never]' in enabled.read_text():
        pytest.skip('the kernel has no transparent huge pages')
    small = 2**26 // mmap.PAGESIZE
    assert all(int(faults) < small / 8 for faults in run()[2:4])
    assert all(int(faults) > small / 2 for faults in run('glibc.malloc.hugetlb=0')[1:3])
