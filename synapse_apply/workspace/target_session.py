"""Wires one target: each part of it is made when it is first used, and closed at the end.

Commands differ in the parts that they ask for: a plan asks for all, `state list` for the store,
`jobs list` for the backend, an offline plan for the manifests alone. A part that cannot be made
raises why; whoever asks again is told again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Self

from synapse_apply import __version__
from synapse_apply.applying.step import Actor
from synapse_apply.manifests.decode.loading import LoadedManifests
from synapse_apply.manifests.project.targets import choose_and_fill_target
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.frozen import frozen
from synapse_apply.model.observed import Capabilities
from synapse_apply.model.plan import Plan
from synapse_apply.model.ports import Api, Clock, Packages, Secrets
from synapse_apply.model.project import Target
from synapse_apply.model.secrets.login import Login
from synapse_apply.model.state import Uptime
from synapse_apply.planning.plan_input import ResourceState
from synapse_apply.secrets.keys import StateKeys, load_keys
from synapse_apply.secrets.macs import generate_salt
from synapse_apply.secrets.resolve import Resolver
from synapse_apply.secrets.signatures import RunSigner
from synapse_apply.secrets.store import SecretStore
from synapse_apply.stores.sql import SqlStore
from synapse_apply.workspace import state_access
from synapse_apply.workspace.embedded import EmbeddedBackend, open_embedded_backend
from synapse_apply.workspace.environment import (
    SystemClock,
    build_actor,
    read_uptime,
)
from synapse_apply.workspace.invocation import Invocation
from synapse_apply.workspace.known_secrets import register_declared_secrets
from synapse_apply.workspace.last_seen import LastSeenStates, build_last_seen_states
from synapse_apply.workspace.offline_target import OfflineTarget
from synapse_apply.workspace.own_folder import check_own_folder
from synapse_apply.workspace.package_sources import PackageCarrier
from synapse_apply.workspace.recovery_journal import build_unrecorded_warnings

if TYPE_CHECKING:
    from synapse_apply.applying.settle import ResolvedIntent
    from synapse_apply.workspace.backend import ConnectedBackend


@frozen
class PlanResult:
    """A plan with what it was made from, which apply needs again."""

    plan: Plan
    resources: Mapping[Address, ResourceState]
    resolved_intents: tuple[ResolvedIntent, ...] = ()
    capabilities: Capabilities = Capabilities()


class TargetSession(OfflineTarget):
    """One target with its backend and its state; a context manager that closes what was opened.

    Nothing is connected or read before it is asked for. `open_context` gives one that is checked
    and ready to be planned, `open_state` one for the state alone.

    `diagnostics` is what `require_ready` found and is no error. `patience` is how many seconds a
    lock that another run holds is waited for. `pause` waits so many seconds; `new_salt` gives the
    salt of a new record, `uptime` how long this machine has been up.
    """

    version = __version__
    diagnostics: tuple[Diagnostic, ...] = ()

    def __init__(
        self,
        invocation: Invocation,
        carrier: PackageCarrier | None = None,
        *,
        read_only: bool = False,
        retries: int = 3,
    ) -> None:
        """With a `carrier`, packages come from it, and no source that it tells of is read.

        `read_only`: an embedded backend that has no data yet gets none. `retries` is how often a
        call that failed is repeated.
        """
        super().__init__(invocation, carrier)
        self.parallelism = invocation.parallelism
        self.patience = invocation.lock_wait_seconds
        self.clock: Clock = SystemClock()
        self.pause: Callable[[float], None] = time.sleep
        self.new_salt: Callable[[], str] = generate_salt
        self.uptime: Callable[[], Uptime] = read_uptime
        self._read_only = read_only
        self._retries = retries
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Note how far the state has come where this run may have changed it; close all parts."""
        with self._closing:
            if "store" in vars(self) and self.store.was_locked_here:
                self.last_seen_states.remember_store_progress(self.store)

    @cached_property
    def target(self) -> Target:
        """The target that is meant, completed from the environment and a login; InputError."""

        @cache
        def find_login() -> Login | None:
            # Here, not above: most targets lack nothing that a login could give.
            from synapse_apply.secrets.login import read_login_file

            return read_login_file(self.invocation.environ)

        return choose_and_fill_target(
            self.project,
            self.invocation.target,
            self.invocation.environ,
            self.invocation.on_terminal,
            find_login,
        )

    @cached_property
    def resolver(self) -> Resolver:
        """Reads the values that manifests and settings refer to, as far as the target allows."""
        return Resolver(
            self.project.root,
            self.invocation.environ,
            self.target.allow_env,
            self.target.allow_files,
            self.project.reserved,
        )

    @cached_property
    def actor(self) -> Actor:
        """Who runs this, at the commit that is checked out, or that of the manifests once ready."""
        return build_actor(self.invocation, self.project.root)

    @cached_property
    def store(self) -> SqlStore:
        """Where the state is, or would be; StateError where a file of the checkout stands there."""
        store = state_access.open_store(self.project, self.target, self.invocation.environ)
        self._closing.callback(store.close)
        return store

    @cached_property
    def last_seen_states(self) -> LastSeenStates:
        """What is remembered of how far states of this target had come."""
        return build_last_seen_states(self.project, self.target, self.invocation.environ)

    @cached_property
    def state_keys(self) -> StateKeys:
        """The state keys at hand; InputError for one that cannot be used."""
        return self.load_state_keys()

    def load_state_keys(self, *, create: bool = False) -> StateKeys:
        """Read the state keys anew: the one in use first, then those that can still check.

        With `create` one is made where there is none.
        """
        path = state_access.state_key_path(self.project, self.target)
        check_own_folder(self.project.root)
        return load_keys(
            self.invocation.environ,
            path,
            target=self.target.name,
            create=create,
            previous=state_access.previous_key_path(path),
        )

    @cached_property
    def signer(self) -> RunSigner:
        """Signs the results of runs under the state key; StateError without a state."""
        return RunSigner(self.state_keys, self.store.read_lineage())

    @cached_property
    def secrets(self) -> Secrets:
        """Resolves what manifests refer to, and digests it under the state key."""
        return SecretStore(self.resolver, self.state_keys)

    @cached_property
    def packages(self) -> Packages:
        """Opens the packages of declared releases: from the carrier, or else their sources."""
        # Here, not above: most commands open no package.
        from synapse_apply.packages.carried_packages import CarriedPackages
        from synapse_apply.packages.upload import SourcePackages

        packages, max_size = self.declared_target.packages, self.project.max_package_size
        if self.carrier is not None:
            return CarriedPackages(self.carrier.file, packages, max_size=max_size)
        return SourcePackages(
            packages,
            self.project.root,
            max_size=max_size,
            allow_files=self.target.allow_files,
            zip_stamps=self.declared_target.zip_stamps,
        )

    @cached_property
    def embedded_backend(self) -> EmbeddedBackend | None:
        """The embedded backend, running; None for a target that is another. StateError."""
        if not self.target.is_embedded:
            return None
        backend = open_embedded_backend(self.project.root, read_only=self._read_only)
        return self._closing.enter_context(backend)

    @cached_property
    def backend(self) -> ConnectedBackend:
        """The client of the backend; nothing is sent yet.

        InputError without a url or a token, or for a host that the token may not go to.
        """
        # Here, not above: a command that asks no backend needs no HTTP.
        from synapse_apply.workspace.backend import connect_backend

        backend = connect_backend(
            self.target,
            self.embedded_backend,
            self.invocation,
            self.resolver.resolve_setting,
            retries=self._retries,
            find_refusal=self._find_refusal,
        )
        return self._closing.enter_context(backend)

    def _find_refusal(self) -> str:
        """Why no request may leave any more, "" where it may.

        A process may be stopped between two instructions, and go on when another has its lock.
        """
        is_lock_lost = "store" in vars(self) and self.store.is_lock_lost()
        return "the lock on the state was lost" if is_lock_lost else ""

    @cached_property
    def api(self) -> Api:
        """The calls of the backend."""
        return self.backend.api

    @cached_property
    def recorded_store(self) -> SqlStore | None:
        """The store where it has a state; None without one. StateError for another backend's."""
        if not self.store.exists():
            return None
        backend = self.backend
        state_access.ensure_state(self.store, self.target, backend.state_identity, backend.embedded)
        return self.store

    def open_other_target(self, target: Target) -> TargetSession:
        """A session of another target of the project, which the environment does not complete."""
        session = TargetSession(self.invocation)
        session.project, session.target = self.project, target
        return session

    def require_ready(self) -> None:
        """Raise unless all that a plan needs is there and fits together; nothing is sent for it.

        ManifestError with every finding before anything is connected, StateError when the state is
        missing or belongs elsewhere. That of a new embedded data set is made here, with its key.
        """
        desired, declared, store = self.desired, self.declared_target, self.store
        project, target = self.project, self.target
        if self._read_only:
            state_access.require_recorded_state(store, target)
        backend = self.backend
        is_new = state_access.ensure_state(store, target, backend.state_identity, backend.embedded)
        self.last_seen_states.check_not_older(store, target, read_only=self._read_only)
        keys = self.state_keys = self.load_state_keys(create=is_new)
        self.diagnostics = (
            *declared.diagnostics,
            *state_access.build_key_findings(keys, project, target, desired),
            *store.list_warnings(),
            *build_unrecorded_warnings(project, target, keys, store.read_lineage()),
        )
        self.mask_declared_secrets(declared.manifests)
        if declared.commit:
            self.actor = replace(self.actor, commit=declared.commit.id)
        else:
            checkout = self.read_checkout()
            self.actor = replace(self.actor, commit=checkout.commit_label, dirty=checkout.dirty)

    def mask_declared_secrets(self, manifests: LoadedManifests) -> None:
        """Mask the secrets of manifests in all that the backend says from now on."""
        register_declared_secrets(
            self.backend.redactor,
            manifests.desired.values(),
            manifests.marks,
            self.resolver.resolve_secret,
        )

    def lock_state(self, operation: str) -> AbstractContextManager[None]:
        """Hold the state for writing; LockHeld when another run keeps it for too long."""
        return self.store.lock(operation, self.patience)

    def list_recorded_addresses(self) -> set[Address]:
        """The addresses that the state knows, those of calls under way among them."""
        state = self.store.read_state()
        return {*state.records, *(intent.address for intent in state.open_intents)}


@contextmanager
def open_state(invocation: Invocation) -> Iterator[TargetSession]:
    """A target's state, without manifests and without touching the backend; no lock is awaited."""
    with TargetSession(invocation) as session:
        session.patience = 0.0
        # What is remembered beside the project is looked for before anything may be made there.
        _ = session.store, session.last_seen_states
        yield session


@contextmanager
def open_context(
    invocation: Invocation, carrier: PackageCarrier | None = None, *, read_only: bool = False
) -> Iterator[TargetSession]:
    """Everything of one target; InputError with every finding before anything is connected.

    StateError when the state is missing or belongs elsewhere. Nothing has been sent yet. With a
    `carrier` packages come from it, and no source that it tells of is read. `read_only`: no state
    is made where there is none.
    """
    with TargetSession(invocation, carrier, read_only=read_only) as session:
        session.require_ready()
        yield session
