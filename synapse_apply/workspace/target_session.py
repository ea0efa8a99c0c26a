"""Wires one target: project, manifests, credentials, backend, state, secrets, packages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from synapse_apply import __version__
from synapse_apply.applying.settle import ResolvedIntent
from synapse_apply.applying.step import Actor
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.descriptor import Catalogue
from synapse_apply.manifests.decode.loading import LoadedManifests
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import ManifestError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.observed import Capabilities
from synapse_apply.model.plan import Plan
from synapse_apply.model.ports import Api, Clock, Packages, Secrets, StateStore
from synapse_apply.model.project import Project, Target
from synapse_apply.model.remote.clock_skew import ClockSkew
from synapse_apply.model.resource import Desired
from synapse_apply.model.state import Uptime
from synapse_apply.model.verification import OtherTargetRuns
from synapse_apply.packages.carried_packages import CarriedPackages
from synapse_apply.packages.upload import SourcePackages
from synapse_apply.planning.plan_input import ResourceState
from synapse_apply.secrets.keys import StateKeys
from synapse_apply.secrets.macs import generate_salt
from synapse_apply.secrets.resolve import Resolver
from synapse_apply.secrets.signatures import RunSigner
from synapse_apply.secrets.store import SecretStore
from synapse_apply.stores.sql import SqlStore
from synapse_apply.workspace import configuration, state_access
from synapse_apply.workspace.environment import SystemClock, build_actor, read_checkout, read_uptime
from synapse_apply.workspace.invocation import Invocation
from synapse_apply.workspace.known_secrets import register_declared_secrets
from synapse_apply.workspace.last_seen import LastSeenStates, build_last_seen_states
from synapse_apply.workspace.other_targets import read_other_target_runs
from synapse_apply.workspace.package_sources import PackageCarrier, SourceContent
from synapse_apply.workspace.recovery_journal import build_unrecorded_warnings

if TYPE_CHECKING:
    from synapse_apply.workspace.backend import ConnectedBackend


@frozen
class PlanResult:
    """A plan with what it was made from, which apply needs again."""

    plan: Plan
    resources: Mapping[Address, ResourceState]
    resolved_intents: tuple[ResolvedIntent, ...] = ()
    capabilities: Capabilities = Capabilities()


@frozen
class StateSession:
    """A target's state and what is needed to look after it: no manifests, no backend.

    `read_keys` reads the state keys at hand; InputError for one that cannot be used.
    `last_seen_states` is what is remembered of how far it was.
    """

    project: Project
    target: Target
    store: StateStore
    clock: Clock
    actor: Actor
    patience: float = 0.0
    read_keys: Callable[[], StateKeys] = StateKeys
    last_seen_states: LastSeenStates = LastSeenStates()

    def lock_state(self, operation: str) -> AbstractContextManager[None]:
        """Hold the state for writing; LockHeld when another run keeps it for too long."""
        return self.store.lock(operation, self.patience)


@frozen
class TargetSession:
    """One target, ready to be planned and applied.

    `desired` are the declared resources with their packages inspected; `diagnostics` the warnings
    found on the way. `secrets_with_keys` is `secrets` with other state keys. `request_id` gives the
    server's id of this thread's last request. `partial`: only some of the manifests were asked for.
    `read_other_target_runs` reads what other targets have verified, where this one requires it.
    `signer` signs the results of runs under the state key. `source_contents` is what package
    sources held. `skew` tells how the server's clock differs, as far as answers have shown by then.
    `hang_up` ends calls under way and refuses all others; what it is given says why. `revision`
    names the commit whose manifests they are, "" where they are those of the checkout.
    `typed_target` is the target's name where the commands that are printed must say it. `paths` are
    the manifests that were named on the command line.
    """

    project: Project
    target: Target
    manifests: LoadedManifests
    desired: Mapping[Address, Desired]
    diagnostics: tuple[Diagnostic, ...]
    api: Api
    store: StateStore
    secrets: Secrets
    secrets_with_keys: Callable[[StateKeys], SecretStore]
    packages: Packages
    clock: Clock
    actor: Actor
    request_id: Callable[[], str]
    longest_call: Callable[[int], float]
    parallelism: int = 10
    partial: bool = False
    version: str = __version__
    catalogue: Catalogue = field(default_factory=lambda: CATALOGUE)
    new_salt: Callable[[], str] = generate_salt
    uptime: Callable[[], Uptime] = read_uptime
    hang_up: Callable[[str], None] = lambda _why: None
    patience: float = 0.0
    skew: Callable[[], ClockSkew | None] = lambda: None

    def lock_state(self, operation: str) -> AbstractContextManager[None]:
        """Hold the state for writing; LockHeld when another run keeps it for too long."""
        return self.store.lock(operation, self.patience)

    def list_recorded_addresses(self) -> set[Address]:
        """The addresses that the state knows, those of calls under way among them."""
        state = self.store.read_state()
        return {*state.records, *(intent.address for intent in state.open_intents)}

    pause: Callable[[float], None] = lambda _seconds: None
    read_other_target_runs: Callable[[], Mapping[str, OtherTargetRuns]] = dict
    signer: RunSigner = RunSigner(StateKeys(), "")
    source_contents: tuple[SourceContent, ...] = ()
    typed_target: str = ""
    revision: str = ""
    paths: tuple[str, ...] = ()


@contextmanager
def open_state(invocation: Invocation) -> Iterator[StateSession]:
    """A target's state, without manifests and without touching the backend."""
    project, target = configuration.load_project_and_target(invocation)
    store = state_access.open_store(project, target, invocation.environ)
    try:
        run_actor = replace(
            build_actor(invocation.environ, project.root), command=invocation.command
        )
        read_keys = partial(state_access.load_state_keys, project, target, invocation.environ)
        last_seen_states = build_last_seen_states(project, target, invocation.environ)
        with _record_progress_at_end(store, last_seen_states):
            yield StateSession(
                project,
                target,
                store,
                SystemClock(),
                run_actor,
                read_keys=read_keys,
                last_seen_states=last_seen_states,
            )
    finally:
        store.close()


@contextmanager
def _record_progress_at_end(store: SqlStore, last_seen_states: LastSeenStates) -> Iterator[None]:
    """Note how far a state has come where the block may have changed it, however it ends."""
    try:
        yield
    finally:
        if store.was_locked_here:
            last_seen_states.remember_store_progress(store)


@contextmanager
def open_context(
    invocation: Invocation, carrier: PackageCarrier | None = None, *, read_only: bool = False
) -> Iterator[TargetSession]:
    """Everything of one target; InputError with every finding before anything is connected.

    StateError when the state is missing or belongs elsewhere. Nothing has been sent yet. With a
    `carrier` packages come from it, and no source that it tells of is read. `read_only`: no state
    is made where there is none.
    """
    from synapse_apply.workspace.backend import connect_backend

    project, target = configuration.load_project_and_target(invocation)
    declared_target = configuration.read_declared_target(
        invocation, project, target, carrier.source_contents if carrier else ()
    )
    findings = declared_target.diagnostics
    if any(finding.is_error for finding in findings):
        raise ManifestError(*findings)
    open_state_store = state_access.open_existing_store if read_only else state_access.open_store
    with closing(open_state_store(project, target, invocation.environ)) as store:
        arguments = (invocation.environ, invocation.parallelism, store.is_lock_lost)
        with connect_backend(project, target, *arguments, read_only=read_only) as backend:
            is_new = state_access.ensure_state(
                store, target, backend.state_identity, backend.embedded
            )
            last_seen_states = build_last_seen_states(project, target, invocation.environ)
            last_seen_states.check_not_older(store, target, read_only=read_only)
            keys = state_access.load_state_keys(project, target, invocation.environ, create=is_new)
            findings += _list_state_findings(store, keys, project, target, declared_target.desired)
            resolver = _build_resolver(project, target, invocation)
            secrets, marks = SecretStore(resolver, keys), declared_target.manifests.marks
            register_declared_secrets(
                backend.redactor, declared_target.desired.values(), marks, secrets.resolve_secret
            )
            with _record_progress_at_end(store, last_seen_states):
                yield TargetSession(
                    project=project,
                    target=target,
                    manifests=declared_target.manifests,
                    desired=declared_target.desired,
                    diagnostics=findings,
                    **_backend_fields(backend),
                    secrets=secrets,
                    secrets_with_keys=lambda other_keys: SecretStore(resolver, other_keys),
                    signer=RunSigner(keys, store.read_lineage()),
                    store=store,
                    packages=_build_package_source(project, target, declared_target, carrier),
                    clock=SystemClock(),
                    actor=_build_actor(invocation, declared_target, project),
                    **_invocation_fields(invocation),
                    read_other_target_runs=partial(
                        read_other_target_runs, project, target, invocation.environ
                    ),
                    source_contents=declared_target.source_contents,
                    revision=str(declared_target.commit or ""),
                )


def _invocation_fields(invocation: Invocation) -> dict[str, Any]:
    """What a Context has of what was typed."""
    return {
        "parallelism": invocation.parallelism,
        "patience": invocation.lock_wait_seconds,
        "partial": bool(invocation.paths),
        "paths": tuple(map(str, invocation.paths)),
        "typed_target": invocation.target or "",
    }


def _backend_fields(backend: ConnectedBackend) -> dict[str, Any]:
    """What a Context has of the backend it talks to."""
    return {
        "api": backend.api,
        "request_id": backend.request_id,
        "longest_call": backend.longest_call,
        "hang_up": backend.hang_up,
        "pause": time.sleep,
        "skew": lambda: backend.server_clock.skew,
    }


def _build_resolver(project: Project, target: Target, invocation: Invocation) -> Resolver:
    """What reads the values that manifests refer to, as far as the target allows."""
    return Resolver(
        project.root, invocation.environ, target.allow_env, target.allow_files, project.reserved
    )


def _list_state_findings(
    store: SqlStore,
    keys: StateKeys,
    project: Project,
    target: Target,
    desired: Mapping[Address, Desired],
) -> tuple[Diagnostic, ...]:
    """What is to be said of the state and its key before anything is done."""
    return (
        *state_access.build_key_findings(keys, project, target, desired),
        *store.list_warnings(),
        *build_unrecorded_warnings(project, target, keys, store.read_lineage()),
    )


def _build_actor(
    invocation: Invocation, declared_target: configuration.DeclaredTarget, project: Project
) -> Actor:
    """Who runs this; the commit is that of the manifests."""
    run_actor = replace(build_actor(invocation.environ, project.root), command=invocation.command)
    if declared_target.commit:
        return replace(run_actor, commit=declared_target.commit.id)
    checkout = read_checkout(project.root, configuration.iter_read_files(project, declared_target))
    return replace(run_actor, commit=checkout.commit_label, dirty=checkout.dirty)


def _build_package_source(
    project: Project,
    target: Target,
    declared_target: configuration.DeclaredTarget,
    carrier: PackageCarrier | None,
) -> Packages:
    """Where bytes come from: the carrier, or else the sources."""
    packages, max_size = declared_target.packages, project.max_package_size
    if carrier is not None:
        return CarriedPackages(carrier.file, packages, max_size=max_size)
    return SourcePackages(
        packages,
        project.root,
        max_size=max_size,
        allow_files=target.allow_files,
        digests=declared_target.digests,
    )
