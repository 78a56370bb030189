"""Functions in Python that tf.data pipelines call, which end before the interpreter does.

TensorFlow's threads run a pipeline ahead of its reader, also when an exception has ended that. A
thread that asks for Python's interpreter lock while the interpreter is finalized is ended there
and then (https://docs.python.org/3.11/c-api/init.html), in the middle of its element, and the
pipeline's destructor waits for the element forever: such a process printed its traceback and hung.
"""

import atexit
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

# A pipeline makes its calls without pauses until its buffers are full.
QUIET_SECONDS = 0.1
# For a call that never returns; nothing can end such a process but a signal.
LONGEST_WAIT_SECONDS = 60.0


@tf.autograph.experimental.do_not_convert  # or every call runs through converted Python
def numpy_function(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """`tf.numpy_function` whose calls are over when the interpreter is finalized.

    TensorFlow needs 20 microseconds of Python for each array that `function` returns: few are best,
    texts as bytes.
    """

    def call(*arrays: Any) -> Any:
        return _calls.run(function, arrays)

    return tf.numpy_function(call, *args, **options)  # noqa: TID251  (the one place)


class _Calls:
    """The calls that are under way, and their end at exit."""

    def __init__(self):
        self._lock = threading.Lock()
        self._under_way = 0
        self._last = -math.inf  # when a call last ended, by time.monotonic
        self._exiting = False

    def run(self, function: Callable[..., Any], arrays: tuple[Any, ...]) -> Any:
        with self._lock:
            self._under_way += 1
        try:
            if self._exiting:
                raise StopIteration  # TensorFlow's end of data, the one error that it does not log
            return function(*arrays)
        finally:
            with self._lock:
                self._under_way -= 1
                self._last = time.monotonic()

    def end(self) -> None:
        """Has every call return at once, which fills the buffers, and waits until none comes."""
        self._exiting = True
        latest = time.monotonic() + LONGEST_WAIT_SECONDS
        while not self._quiet() and time.monotonic() < latest:
            time.sleep(0.01)

    def _quiet(self) -> bool:
        with self._lock:
            return not self._under_way and time.monotonic() - self._last > QUIET_SECONDS


_calls = _Calls()
atexit.register(_calls.end)
