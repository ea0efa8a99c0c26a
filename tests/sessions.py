"""Sessions whose parts are a test's own."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from copy import copy
from typing import Any

from synapse_apply.workspace.target_session import TargetSession


def with_parts(session: TargetSession, **parts: Any) -> TargetSession:
    """The same session with other parts; the given one stays as it is."""
    other = copy(session)
    for name, part in parts.items():
        setattr(other, name, part)
    return other


class OneSession:
    """Stands in for the connection of a target: each of its sessions is a test's own."""

    def __init__(self, session: TargetSession) -> None:
        self._session, self.invocation = session, session.invocation

    def state_alone(self, *, read_only: bool = False) -> AbstractContextManager[TargetSession]:
        """The session, which stays open."""
        return nullcontext(self._session)

    ready = session_with_other_key = state_alone
