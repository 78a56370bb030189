"""Being asked to stop: Ctrl-C or SIGTERM lets the step end, so that the state can be saved."""

import itertools
import signal
import threading
from types import FrameType
from typing import Any

import jax
from jax.experimental import multihost_utils

# Of this process, over all its loops. Not the number of the step: asked to stop before the first
# question, the processes agree on question 1.
_questions = itertools.count(1)


class Interruption:
    """While entered, the first SIGINT or SIGTERM only asks for an end; the second does its worst.

    In a run of many processes it is enough to ask one of them. JAX's coordination service listens
    for SIGTERM from the start of the process, and lets all of them agree, within a second or two,
    on the step after which they stop: one that stopped earlier would leave the others waiting for
    it in the middle of a step.
    """

    def __init__(self):
        self.stopped_by: signal.Signals | None = None
        self._asked_by: signal.Signals | None = None
        self._together = jax.process_count() > 1
        self._former: dict[signal.Signals, Any] = {}

    def is_due(self) -> bool:
        """Whether training ends here; every process asks after every step."""
        if not self._together:
            self.stopped_by = self._asked_by
        elif multihost_utils.reached_preemption_sync_point(next(_questions)):
            self.stopped_by = self._asked_by or signal.SIGTERM
        return self.stopped_by is not None

    def __enter__(self) -> 'Interruption':
        if threading.current_thread() is threading.main_thread():
            own = (signal.SIGINT,) if self._together else (signal.SIGINT, signal.SIGTERM)
            for number in own:
                self._former[number] = signal.signal(number, self._asked)
        return self

    def _asked(self, number: int, frame: FrameType | None) -> None:
        self._asked_by = signal.Signals(number)
        self._restore()
        if self._together:
            signal.raise_signal(signal.SIGTERM)  # to the coordination service

    def _restore(self) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}

    def __exit__(self, *error: Any) -> None:
        self._restore()
