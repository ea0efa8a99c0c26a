"""The parts of a target that checks use, and why a check cannot be made when one is missing."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from synapse_apply.files.opening import OWN_FOLDER
from synapse_apply.model.errors import RemoteError, SynapseApplyError
from synapse_apply.model.state import State
from synapse_apply.workspace.backend import (
    ConnectedBackend,
    require_target_token_or_none_on_loopback,
    require_target_url,
)
from synapse_apply.workspace.embedded import EmbeddedBackend
from synapse_apply.workspace.environment import require_allowed_host
from synapse_apply.workspace.own_folder import has_own_folder_or_raise_if_untrusted
from synapse_apply.workspace.target_session import TargetSession

T = TypeVar("T")

# A person waits for this: one more try tells a hiccup from a failure.
CHECK_RETRIES = 1


class UncheckedError(Exception):
    """A check cannot be made; the text says why."""


class LazyValue(Generic[T]):
    """A part of the target, made at its first use; a failure to make it is remembered as well."""

    def __init__(self, missing_reason: str, make: Callable[[], T], *needs: LazyValue[Any]) -> None:
        """`missing_reason` is the text of UncheckedError when a check needs the value in vain.

        `needs` are the parts that `make` uses: where one is missing, so is this.
        """
        self._missing_reason = missing_reason
        self._make = make
        self._needs = needs
        self._values: list[T] = []
        self._failure: Exception | None = None

    def get_or_raise(self) -> T:
        """The value, for the check that is about it; raises why it cannot be made."""
        if self._failure is not None:
            raise self._failure
        if not self._values:
            try:
                for needed_part in self._needs:
                    needed_part.get_or_raise_unchecked_error()
                self._values.append(self._make())
            except Exception as failure:
                self._failure = failure
                raise
        return self._values[0]

    def get_or_raise_unchecked_error(self) -> T:
        """The value, for a check of something else; UncheckedError without it."""
        try:
            return self.get_or_raise()
        except (SynapseApplyError, RemoteError, OSError):
            raise UncheckedError(self._missing_reason) from None


class LazyTargetParts:
    """The parts of one target as LazyValues."""

    def __init__(self, session: TargetSession, *, reads_manifests: bool = True) -> None:
        """Without manifests, their secrets are unknown: no word of the server may be shown."""
        self.session = session
        self._reads_manifests = reads_manifests
        self.project = LazyValue("the project file cannot be used", lambda: session.project)
        self.target = LazyValue(
            "it is not known which target is meant", lambda: session.target, self.project
        )
        self.own_folder = LazyValue(
            f"what is in {OWN_FOLDER} is not used",
            lambda: has_own_folder_or_raise_if_untrusted(session.project.root),
            self.project,
        )
        self.declared_target = LazyValue(
            "the manifests cannot be read",
            lambda: session.declared_target,
            self.own_folder,
            self.target,
        )
        self.embedded_backend = LazyValue(
            "the embedded backend cannot start", self._start_embedded_backend_or_none, self.target
        )
        self.url = LazyValue("there is no url", self._require_backend_url)
        self.host_permission = LazyValue(
            "the token may not go to this host",
            self._require_host_allowed_unless_embedded,
            self.embedded_backend,
            self.url,
        )
        self.token = LazyValue(
            "there is no token that can be sent",
            self._resolve_token_or_none_on_loopback,
            self.embedded_backend,
        )
        self.backend = LazyValue(
            "no client can be made",
            self._connect_backend_masking_manifest_secrets,
            self.url,
            self.host_permission,
            self.token,
        )
        self.answer_seconds = LazyValue(
            "the backend could not be read", self._measure_seconds_of_cheap_read
        )
        self.store = LazyValue(
            "the state cannot be opened", lambda: session.store, self.own_folder, self.target
        )
        self.state = LazyValue(
            "the state cannot be read", self._read_state_or_raise_unchecked_error, self.store
        )

    def _start_embedded_backend_or_none(self) -> EmbeddedBackend | None:
        if self.session.target.is_embedded:
            self.own_folder.get_or_raise_unchecked_error()
        return self.session.embedded_backend

    def _require_backend_url(self) -> str:
        embedded = self.embedded_backend.get_or_raise()
        return embedded.url if embedded else require_target_url(self.session.target)

    def _require_host_allowed_unless_embedded(self) -> None:
        if self.embedded_backend.get_or_raise() is None:
            require_allowed_host(self.url.get_or_raise(), self.session.invocation.environ)

    def _resolve_token_or_none_on_loopback(self) -> str | None:
        embedded = self.embedded_backend.get_or_raise()
        if embedded is not None:
            return str(embedded.token.reveal())
        return require_target_token_or_none_on_loopback(
            self.session.target, self.session.resolver.resolve_setting
        )

    def _connect_backend_masking_manifest_secrets(self) -> ConnectedBackend:
        connected_backend = self.session.backend
        if self._reads_manifests:
            with suppress(UncheckedError):
                manifests = self.declared_target.get_or_raise_unchecked_error().manifests
                self.session.mask_secrets_of_manifests_in_answers(manifests)
        return connected_backend

    def _measure_seconds_of_cheap_read(self) -> float:
        """Seconds of the one cheap read that shows whether token and tenant are taken."""
        api = self.backend.get_or_raise().api
        started_at = time.monotonic()
        api.list_jobs({"page_size": 1})
        return time.monotonic() - started_at

    def _read_state_or_raise_unchecked_error(self) -> State:
        store = self.store.get_or_raise()
        if not store.exists():
            raise UncheckedError("there is no state")
        return store.read_state()
