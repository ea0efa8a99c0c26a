"""How the methods of one target share a session, and which errors they raise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from synapse_apply.files.commit_memory import pin_refs
from synapse_apply.model.errors import (
    BackendError,
    InputError,
    RemoteError,
    TooLarge,
    build_remote_finding,
)
from synapse_apply.workspace.invocation import Invocation

if TYPE_CHECKING:
    from synapse_apply.live.live_backend import LiveBackend
    from synapse_apply.workspace.target_session import TargetSession


class TargetConnection:
    """The session of a target, opened at its first use and again after `disconnect`."""

    def __init__(self, invocation: Invocation) -> None:
        """Reads and connects nothing yet."""
        self.invocation = invocation
        self._closing = ExitStack()
        self._session: TargetSession | None = None
        self._live_backend: LiveBackend | None = None
        self._is_read_only = False
        self._is_closed = False
        self._commits: dict[tuple[Path, str], str] = {}

    def close(self) -> None:
        """Close the session where there is one; none is opened any more."""
        self._is_closed = True
        self.disconnect()

    def require_open(self) -> None:
        """InputError after `close`."""
        if self._is_closed:
            raise InputError.from_summary(
                "This target is closed",
                "close() was called, or its `with` block has ended.",
                "Open it again with open_target().",
            )

    def disconnect(self) -> None:
        """Close the sessions where there are any; the next use opens another."""
        self._session, self._live_backend = None, None
        self._closing.close()

    @contextmanager
    def ready(self, *, read_only: bool = False) -> Iterator[TargetSession]:
        """A session that is ready for a plan. `read_only`: no state is created."""
        with self.guarded():
            # A read-only session created no state; a method that writes needs one.
            if self._session is not None and self._is_read_only and not read_only:
                self.disconnect()
            if self._session is None:
                from synapse_apply.workspace.target_session import open_context

                new_session = open_context(self.invocation, read_only=read_only)
                self._session = self._closing.enter_context(new_session)
                self._is_read_only = read_only
            yield self._session

    @contextmanager
    def live(self) -> Iterator[LiveBackend]:
        """The backend for reading and calling by hand: no manifests, and a state only if there is.

        The state is read again by each use.
        """
        with self.guarded():
            if self._live_backend is None:
                from synapse_apply.live.live_backend import open_live_backend

                new_backend = open_live_backend(self.invocation)
                self._live_backend = self._closing.enter_context(new_backend)
            self._live_backend.reread_state_at_next_use()
            yield self._live_backend

    @contextmanager
    def session_with_other_key(self) -> Iterator[TargetSession]:
        """A session of its own for a state whose key is about to change; the shared one is closed.

        It takes another key than that of the state, which a session for a plan refuses.
        """
        from synapse_apply.workspace.target_session import open_context

        # The shared session would go on with the former key.
        self.disconnect()
        new_session = open_context(self.invocation, accept_other_key=True)
        with self.guarded(), new_session as session:
            yield session

    def chosen_name(self) -> str:
        """The name of the target that is meant; InputError where the project has none."""
        from synapse_apply.workspace.target_session import TargetSession

        with self.guarded():
            return (self._session or TargetSession(self.invocation)).target.name

    @contextmanager
    def state_alone(self, *, read_only: bool = False) -> Iterator[TargetSession]:
        """A session for the state alone: no manifests, no backend, no lock awaited."""
        from synapse_apply.workspace.target_session import open_state

        new_session = open_state(self.invocation, read_only=read_only)
        with self.guarded(), new_session as session:
            yield session

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """A context in which a Git ref stays one commit, and a failed call raises BackendError.

        Every method that reads or writes is inside of it: InputError after `close`.
        """
        self.require_open()
        try:
            with pin_refs(self._commits):
                yield
        except RemoteError as failure:
            finding = build_remote_finding(failure)
            if isinstance(failure, TooLarge):
                finding = finding.with_changes(target=self.chosen_name())
            raise BackendError(finding) from failure
