"""The target that is looked at: everything a check may need, made at its first use."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Generic, TypeVar

from synapse_apply.files.opening import FOLDER
from synapse_apply.model.errors import RemoteError, SynapseApplyError
from synapse_apply.model.project import Project, Target
from synapse_apply.model.state import State
from synapse_apply.secrets.resolve import Resolver
from synapse_apply.session import backend, declare, state_file
from synapse_apply.session.backend import Backend
from synapse_apply.session.declare import Declared
from synapse_apply.session.embedded import Embedded, running
from synapse_apply.session.known_secrets import know_declared, know_settings
from synapse_apply.session.own_folder import check_own_folder
from synapse_apply.session.surroundings import check_host
from synapse_apply.session.where import Where
from synapse_apply.stores.sql import SqlStore

T = TypeVar("T")

# A person waits for this: one more try tells a hiccup from a failure.
RETRIES = 1


class Unchecked(Exception):
    """A check that cannot be made; the text is why."""


class Once(Generic[T]):
    """Something made at its first use; that it cannot be made is remembered, too."""

    def __init__(self, without: str, make: Callable[[], T]) -> None:
        """`without` says of every check that needs it why it was not made."""
        self._without = without
        self._make = make
        self._made: list[T] = []
        self._failure: Exception | None = None

    def get(self) -> T:
        """The thing, for the check that is about it; raises why it cannot be made."""
        if self._failure is not None:
            raise self._failure
        if not self._made:
            try:
                self._made.append(self._make())
            except Exception as failure:
                self._failure = failure
                raise
        return self._made[0]

    def needed(self) -> T:
        """The thing, for a check about something else; Unchecked without it."""
        try:
            return self.get()
        except (SynapseApplyError, RemoteError, OSError):
            raise Unchecked(self._without) from None


class Patient:
    """One target as a command means it. Nothing is connected or read before it is asked for."""

    def __init__(self, where: Where, stack: ExitStack, *, reads_manifests: bool = True) -> None:
        """What is opened is closed with `stack`.

        Without manifests, their secrets are unknown: then no word of the server may be shown.
        """
        self.where = where
        self._reads_manifests = reads_manifests
        self._stack = stack
        self.project: Once[Project] = Once(
            "the project file cannot be used", lambda: declare.project_of(where)
        )
        self.target: Once[Target] = Once("it is not known which target is meant", self._target)
        self.own_folder: Once[bool] = Once(
            f"what is in {FOLDER} is not used", lambda: check_own_folder(self.project.needed().root)
        )
        self.declared: Once[Declared] = Once("the manifests cannot be read", self._declared)
        self.embedded: Once[Embedded | None] = Once(
            "the embedded backend cannot start", self._embedded
        )
        self.url: Once[str] = Once("there is no url", self._url)
        self.host: Once[None] = Once("the token may not go to this host", self._host)
        self.token: Once[str | None] = Once("there is no token that can be sent", self._token)
        self.backend: Once[Backend] = Once("no client can be made", self._backend)
        self.answer: Once[float] = Once("the backend could not be read", self._answer)
        self.store: Once[SqlStore] = Once("the state cannot be opened", self._store)
        self.state: Once[State] = Once("the state cannot be read", self._state)

    def _target(self) -> Target:
        return declare.meant(self.project.needed(), self.where)

    def _declared(self) -> Declared:
        self.own_folder.needed()
        return declare.declared(self.where, self.project.needed(), self.target.needed())

    def _embedded(self) -> Embedded | None:
        if not self.target.needed().is_embedded:
            return None
        self.own_folder.needed()
        return self._stack.enter_context(running(self.project.needed().root, looking=True))

    def _url(self) -> str:
        embedded = self.embedded.get()
        return embedded.url if embedded else backend.url_of(self.target.needed())

    def _host(self) -> None:
        if self.embedded.needed() is None:
            check_host(self.url.needed(), self.where.environ)

    def _token(self) -> str | None:
        embedded = self.embedded.needed()
        if embedded is not None:
            return str(embedded.token.reveal())
        return backend.token_of(self.project.needed(), self.target.needed(), self.where.environ)

    def _backend(self) -> Backend:
        url = self.url.needed()
        self.host.needed()
        client = backend.client_of(
            url,
            self.token.needed(),
            self.target.needed(),
            self.where.parallelism,
            retries=RETRIES,
        )
        made = self._stack.enter_context(client)
        with suppress(Unchecked):
            self._know_secrets(made)
        return made

    def _know_secrets(self, made: Backend) -> None:
        project, target = self.project.needed(), self.target.needed()
        how = (project.root, self.where.environ, target.allow_env, target.allow_files)
        resolver = Resolver(*how)
        know_settings(made.redactor, target, resolver.resolve_setting)
        if not self._reads_manifests:
            return
        declared = self.declared.needed()
        known = declared.desired.values()
        know_declared(made.redactor, known, declared.loaded.marks, resolver.resolve)

    def _answer(self) -> float:
        """Seconds of the one cheap read that shows whether token and tenant are taken."""
        api = self.backend.get().api
        begun = time.monotonic()
        api.list_jobs({"page_size": 1})
        return time.monotonic() - begun

    def _store(self) -> SqlStore:
        self.own_folder.needed()
        store = state_file.open_store(
            self.project.needed(), self.target.needed(), self.where.environ
        )
        self._stack.callback(store.close)
        return store

    def _state(self) -> State:
        store = self.store.needed()
        if not store.exists():
            raise Unchecked("there is no state")
        return store.read()
