"""Peak resident memory of this process or of a command (Linux).

`getrusage` answers for neither: a process begins with what its parent held when it forked, and of
children it knows the largest so far.
"""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

STATUS = Path('/proc/self/status')


def peak_bytes() -> int:
    """The most resident memory of this process since it started, or since `forget_peak`."""
    return int(re.search(r'VmHWM:\s+(\d+) kB', STATUS.read_text())[1]) * 1024


def forget_peak() -> int:
    """Lets the peak start from what is used now, which is returned."""
    Path('/proc/self/clear_refs').write_text('5')
    return peak_bytes()


def run(command: Sequence[str], **options: Any) -> int:
    """Runs a command without its output; returns its peak resident memory in bytes.

    The programs that call this are small themselves: the peak is never less than theirs.

    Raises:
      subprocess.CalledProcessError: the command failed.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, **options)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return usage.ru_maxrss * 1024
