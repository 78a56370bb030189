"""What could not be used: counted and named, never silently dropped.

The input pipeline runs in threads of tf.data; the runner asks here what it met.
"""

import collections
import threading

NAMED = 5


class BadData:
    """Counts by kind ('undecodable_images', ...) and the first few ids of each, with the reason."""

    def __init__(self):
        self._lock = threading.Lock()
        self._counts: collections.Counter[str] = collections.Counter()
        self._named: dict[str, dict[str, str]] = collections.defaultdict(dict)

    def add(self, kind: str, example_id: str, reason: str) -> None:
        with self._lock:
            self._counts[kind] += 1
            named = self._named[kind]
            if len(named) < NAMED or example_id in named:
                named[example_id] = reason

    def counts(self) -> dict[str, int]:
        """How often each kind was met; an example seen in two epochs counts twice."""
        with self._lock:
            return dict(self._counts)

    def named(self, kind: str) -> dict[str, str]:
        """Up to five ids of this kind and what was wrong with each."""
        with self._lock:
            return dict(self._named.get(kind, {}))

    def ids_by_reason(self, kind: str) -> dict[str, list[str]]:
        """The ids of `named`, those with which the same was wrong together."""
        found: dict[str, list[str]] = {}
        for example_id, reason in self.named(kind).items():
            found.setdefault(reason, []).append(example_id)
        return found

    def clear(self) -> None:
        with self._lock:
            self._counts.clear()
            self._named.clear()


# One for the process: SeqIO builds pipelines from registered tasks, so there is no object of the
# runner's to hand down to them.
bad_data = BadData()
