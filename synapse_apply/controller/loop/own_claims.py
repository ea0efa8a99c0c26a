"""Which claims this process goes on with: those of targets that a task of it works on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from synapse_apply.controller.rows import TargetName


class OwnClaims:
    """The targets that tasks of this process work on; for any thread.

    A claim beside these, of a task that broke off or whose commit nobody answered, is renewed by
    nobody: it runs out, and another process takes the target.
    """

    def __init__(self) -> None:
        self._names: set[TargetName] = set()
        self._lock = Lock()

    @contextmanager
    def renewing_claim(self, name: TargetName) -> Iterator[None]:
        """Go on with the claim of a target in the block."""
        with self._lock:
            self._names.add(name)
        try:
            yield
        finally:
            with self._lock:
                self._names.discard(name)

    def claims_to_renew(self) -> list[TargetName]:
        with self._lock:
            return list(self._names)
