"""The target that is looked at: everything a check may need, made at its first use."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Generic, TypeVar

from synapse_apply.files.opening import OWN_FOLDER
from synapse_apply.model.errors import RemoteError, SynapseApplyError
from synapse_apply.model.project import Project, Target
from synapse_apply.model.state import State
from synapse_apply.secrets.resolve import Resolver
from synapse_apply.stores.sql import SqlStore
from synapse_apply.workspace import backend, configuration, state_access
from synapse_apply.workspace.backend import ConnectedBackend
from synapse_apply.workspace.configuration import DeclaredTarget
from synapse_apply.workspace.embedded import EmbeddedBackend, open_embedded_backend
from synapse_apply.workspace.environment import require_allowed_host
from synapse_apply.workspace.invocation import Invocation
from synapse_apply.workspace.known_secrets import (
    register_declared_secrets,
    register_setting_secrets,
)
from synapse_apply.workspace.own_folder import check_own_folder

T = TypeVar("T")

# A person waits for this: one more try tells a hiccup from a failure.
CHECK_RETRIES = 1


class UncheckedError(Exception):
    """A check that cannot be made; the text is why."""


class LazyValue(Generic[T]):
    """Something made at its first use; that it cannot be made is remembered, too."""

    def __init__(self, missing_reason: str, make: Callable[[], T]) -> None:
        """`missing_reason` says of every check that needs it why it was not made."""
        self._missing_reason = missing_reason
        self._make = make
        self._values: list[T] = []
        self._failure: Exception | None = None

    def get_value(self) -> T:
        """The thing, for the check that is about it; raises why it cannot be made."""
        if self._failure is not None:
            raise self._failure
        if not self._values:
            try:
                self._values.append(self._make())
            except Exception as failure:
                self._failure = failure
                raise
        return self._values[0]

    def require_value(self) -> T:
        """The thing, for a check about something else; Unchecked without it."""
        try:
            return self.get_value()
        except (SynapseApplyError, RemoteError, OSError):
            raise UncheckedError(self._missing_reason) from None


class TargetCheckup:
    """One target as a command means it. Nothing is connected or read before it is asked for."""

    def __init__(
        self, invocation: Invocation, stack: ExitStack, *, reads_manifests: bool = True
    ) -> None:
        """What is opened is closed with `stack`.

        Without manifests, their secrets are unknown: then no word of the server may be shown.
        """
        self.invocation = invocation
        self._reads_manifests = reads_manifests
        self._stack = stack
        self.project: LazyValue[Project] = LazyValue(
            "the project file cannot be used", lambda: configuration.load_project(invocation)
        )
        self.target: LazyValue[Target] = LazyValue(
            "it is not known which target is meant", self._choose_target
        )
        self.own_folder: LazyValue[bool] = LazyValue(
            f"what is in {OWN_FOLDER} is not used",
            lambda: check_own_folder(self.project.require_value().root),
        )
        self.declared_target: LazyValue[DeclaredTarget] = LazyValue(
            "the manifests cannot be read", self._read_declared_target
        )
        self.embedded_backend: LazyValue[EmbeddedBackend | None] = LazyValue(
            "the embedded backend cannot start", self._start_embedded_backend
        )
        self.url: LazyValue[str] = LazyValue("there is no url", self._find_url)
        self.host_permission: LazyValue[None] = LazyValue(
            "the token may not go to this host", self._check_host
        )
        self.token: LazyValue[str | None] = LazyValue(
            "there is no token that can be sent", self._resolve_token
        )
        self.backend: LazyValue[ConnectedBackend] = LazyValue(
            "no client can be made", self._open_client
        )
        self.answer_seconds: LazyValue[float] = LazyValue(
            "the backend could not be read", self._measure_answer_seconds
        )
        self.store: LazyValue[SqlStore] = LazyValue("the state cannot be opened", self._open_store)
        self.state: LazyValue[State] = LazyValue("the state cannot be read", self._read_state)

    def _choose_target(self) -> Target:
        return configuration.resolve_target(self.project.require_value(), self.invocation)

    def _read_declared_target(self) -> DeclaredTarget:
        self.own_folder.require_value()
        return configuration.read_declared_target(
            self.invocation, self.project.require_value(), self.target.require_value()
        )

    def _start_embedded_backend(self) -> EmbeddedBackend | None:
        if not self.target.require_value().is_embedded:
            return None
        self.own_folder.require_value()
        return self._stack.enter_context(
            open_embedded_backend(self.project.require_value().root, read_only=True)
        )

    def _find_url(self) -> str:
        embedded = self.embedded_backend.get_value()
        return embedded.url if embedded else backend.require_target_url(self.target.require_value())

    def _check_host(self) -> None:
        if self.embedded_backend.require_value() is None:
            require_allowed_host(self.url.require_value(), self.invocation.environ)

    def _resolve_token(self) -> str | None:
        embedded = self.embedded_backend.require_value()
        if embedded is not None:
            return str(embedded.token.reveal())
        return backend.resolve_target_token(
            self.project.require_value(), self.target.require_value(), self.invocation.environ
        )

    def _open_client(self) -> ConnectedBackend:
        url = self.url.require_value()
        self.host_permission.require_value()
        client = backend.open_client(
            url,
            self.token.require_value(),
            self.target.require_value(),
            self.invocation.parallelism,
            retries=CHECK_RETRIES,
        )
        connected_backend = self._stack.enter_context(client)
        with suppress(UncheckedError):
            self._register_secrets(connected_backend)
        return connected_backend

    def _register_secrets(self, connected_backend: ConnectedBackend) -> None:
        project, target = self.project.require_value(), self.target.require_value()
        resolver_arguments = (
            project.root,
            self.invocation.environ,
            target.allow_env,
            target.allow_files,
        )
        resolver = Resolver(*resolver_arguments)
        register_setting_secrets(connected_backend.redactor, target, resolver.resolve_setting)
        if not self._reads_manifests:
            return
        declared_target = self.declared_target.require_value()
        resources = declared_target.desired.values()
        register_declared_secrets(
            connected_backend.redactor,
            resources,
            declared_target.manifests.marks,
            resolver.resolve_secret,
        )

    def _measure_answer_seconds(self) -> float:
        """Seconds of the one cheap read that shows whether token and tenant are taken."""
        api = self.backend.get_value().api
        started_at = time.monotonic()
        api.list_jobs({"page_size": 1})
        return time.monotonic() - started_at

    def _open_store(self) -> SqlStore:
        self.own_folder.require_value()
        store = state_access.open_store(
            self.project.require_value(), self.target.require_value(), self.invocation.environ
        )
        self._stack.callback(store.close)
        return store

    def _read_state(self) -> State:
        store = self.store.require_value()
        if not store.exists():
            raise UncheckedError("there is no state")
        return store.read_state()
