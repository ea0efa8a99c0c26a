"""Wires one target: project, manifests, credentials, backend, state, secrets, packages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from synapse_apply import __version__
from synapse_apply.applying.settle import Settled
from synapse_apply.applying.task import Actor
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.descriptor import Catalogue
from synapse_apply.manifests.loading import Loaded
from synapse_apply.model.address import Address
from synapse_apply.model.desired import Desired
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import ManifestError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.observed import Capabilities
from synapse_apply.model.plan import Plan
from synapse_apply.model.ports import Api, Clock, Packages, Secrets, StateStore
from synapse_apply.model.project import Project, Target
from synapse_apply.model.skew import Skew
from synapse_apply.model.state import Uptime
from synapse_apply.model.verification import Elsewhere
from synapse_apply.packages.carried import CarriedPackages
from synapse_apply.packages.opening import SourcePackages
from synapse_apply.planning.situation import Item
from synapse_apply.secrets.keys import Keys
from synapse_apply.secrets.macs import new_salt
from synapse_apply.secrets.resolve import Resolver
from synapse_apply.secrets.signatures import RunSigner
from synapse_apply.secrets.store import SecretStore
from synapse_apply.session import declare, state_file
from synapse_apply.session.known_secrets import know_declared
from synapse_apply.session.last_seen import LastSeen, last_seen
from synapse_apply.session.sources import Carrier, Held
from synapse_apply.session.surroundings import SystemClock, actor, checkout_of, uptime
from synapse_apply.session.unrecorded import left_behind
from synapse_apply.session.vouching import elsewhere
from synapse_apply.session.where import Where
from synapse_apply.stores.sql import SqlStore

if TYPE_CHECKING:
    from synapse_apply.session.backend import Backend


@frozen
class Planned:
    """A plan with what it was made from, which apply needs again."""

    plan: Plan
    items: Mapping[Address, Item]
    settled: tuple[Settled, ...] = ()
    capabilities: Capabilities = Capabilities()


@frozen
class StateContext:
    """A target's state and what is needed to look after it: no manifests, no backend.

    `keys` reads the state keys at hand; InputError for one that cannot be used. `seen` is what is
    remembered of how far it was.
    """

    project: Project
    target: Target
    store: StateStore
    clock: Clock
    actor: Actor
    patience: float = 0.0
    keys: Callable[[], Keys] = Keys
    seen: LastSeen = LastSeen()

    def lock(self, operation: str) -> AbstractContextManager[None]:
        """Hold the state for writing; LockHeld when another run keeps it for too long."""
        return self.store.lock(operation, self.patience)


@frozen
class Context:
    """One target, ready to be planned and applied.

    `desired` are the declared resources with their packages inspected; `diagnostics` the warnings
    found on the way. `secrets_under` is `secrets` with other state keys. `request_id` gives the
    server's id of this thread's last request. `partial`: only some of the manifests were asked for.
    `elsewhere` reads what other targets have verified, where this one requires it. `signer` signs
    the results of runs under the state key.
    `held` is what package sources held.
    `skew` tells how the server's clock differs, as far as answers have shown by then.
    `hang_up` ends calls under way and refuses all others; what it is given says why.
    `revision` names the commit whose manifests they are, "" where they are those of the checkout.
    `aim` is the target's name where the commands that are printed must say it.
    `paths` are the manifests that were named on the command line.
    """

    project: Project
    target: Target
    loaded: Loaded
    desired: Mapping[Address, Desired]
    diagnostics: tuple[Diagnostic, ...]
    api: Api
    store: StateStore
    secrets: Secrets
    secrets_under: Callable[[Keys], SecretStore]
    packages: Packages
    clock: Clock
    actor: Actor
    request_id: Callable[[], str]
    longest_call: Callable[[int], float]
    parallelism: int = 10
    partial: bool = False
    version: str = __version__
    catalogue: Catalogue = field(default_factory=lambda: CATALOGUE)
    new_salt: Callable[[], str] = new_salt
    uptime: Callable[[], Uptime] = uptime
    hang_up: Callable[[str], None] = lambda _why: None
    patience: float = 0.0
    skew: Callable[[], Skew | None] = lambda: None

    def lock(self, operation: str) -> AbstractContextManager[None]:
        """Hold the state for writing; LockHeld when another run keeps it for too long."""
        return self.store.lock(operation, self.patience)

    def recorded(self) -> set[Address]:
        """The addresses that the state knows, those of calls under way among them."""
        state = self.store.read()
        return {*state.records, *(intent.address for intent in state.open_intents)}

    pause: Callable[[float], None] = lambda _seconds: None
    elsewhere: Callable[[], Mapping[str, Elsewhere]] = dict
    signer: RunSigner = RunSigner(Keys(), "")
    held: tuple[Held, ...] = ()
    aim: str = ""
    revision: str = ""
    paths: tuple[str, ...] = ()


@contextmanager
def open_state(where: Where) -> Iterator[StateContext]:
    """A target's state, without manifests and without touching the backend."""
    project, target = declare.target_of(where)
    store = state_file.open_store(project, target, where.environ)
    try:
        who = replace(actor(where.environ, project.root), command=where.command)
        keys = partial(state_file.keys, project, target, where.environ)
        seen = last_seen(project, target, where.environ)
        with _noting(store, seen):
            yield StateContext(project, target, store, SystemClock(), who, keys=keys, seen=seen)
    finally:
        store.close()


@contextmanager
def _noting(store: SqlStore, seen: LastSeen) -> Iterator[None]:
    """Note how far a state has come where the block may have changed it, however it ends."""
    try:
        yield
    finally:
        if store.was_held:
            seen.note(store)


@contextmanager
def open_context(
    where: Where, carrier: Carrier | None = None, *, looking: bool = False
) -> Iterator[Context]:
    """Everything of one target; InputError with every finding before anything is connected.

    StateError when the state is missing or belongs elsewhere. Nothing has been sent yet. With a
    `carrier` packages come from it, and no source that it tells of is read. `looking`: no state
    is made where there is none.
    """
    from synapse_apply.session.backend import connected

    project, target = declare.target_of(where)
    declared = declare.declared(where, project, target, carrier.held if carrier else ())
    findings = declared.diagnostics
    if any(finding.is_error for finding in findings):
        raise ManifestError(*findings)
    opened = state_file.existing_store if looking else state_file.open_store
    with closing(opened(project, target, where.environ)) as store:
        how = (where.environ, where.parallelism, store.lost)
        with connected(project, target, *how, looking=looking) as backend:
            made = state_file.ensure(store, target, backend.binding, backend.embedded)
            seen = last_seen(project, target, where.environ)
            seen.check(store, target, looking=looking)
            keys = state_file.keys(project, target, where.environ, create=made)
            findings += state_file.key_findings(keys, project, target, declared.desired)
            findings += (*store.warnings(), *left_behind(project, target, keys, store.lineage()))
            resolver = Resolver(
                project.root,
                where.environ,
                target.allow_env,
                target.allow_files,
                project.reserved,
            )
            secrets, marks = SecretStore(resolver, keys), declared.loaded.marks
            know_declared(backend.redactor, declared.desired.values(), marks, secrets.resolve)
            with _noting(store, seen):
                yield Context(
                    project=project,
                    target=target,
                    loaded=declared.loaded,
                    desired=declared.desired,
                    diagnostics=findings,
                    **_answering(backend),
                    secrets=secrets,
                    secrets_under=lambda others: SecretStore(resolver, others),
                    signer=RunSigner(keys, store.lineage()),
                    store=store,
                    packages=_packages(project, target, declared, carrier),
                    clock=SystemClock(),
                    actor=_who(where, declared, project),
                    parallelism=where.parallelism,
                    patience=where.patience,
                    partial=bool(where.paths),
                    paths=tuple(map(str, where.paths)),
                    elsewhere=partial(elsewhere, project, target, where.environ),
                    held=declared.held,
                    aim=where.target or "",
                    revision=str(declared.commit or ""),
                )


def _answering(backend: Backend) -> dict[str, Any]:
    """What a Context has of the backend it talks to."""
    return {
        "api": backend.api,
        "request_id": backend.request_id,
        "longest_call": backend.longest_call,
        "hang_up": backend.hang_up,
        "pause": time.sleep,
        "skew": lambda: backend.server_clock.skew,
    }


def _who(where: Where, declared: declare.Declared, project: Project) -> Actor:
    """Who runs this; the commit is that of the manifests."""
    who = replace(actor(where.environ, project.root), command=where.command)
    if declared.commit:
        return replace(who, commit=declared.commit.id)
    checkout = checkout_of(project.root, declare.files_read(project, declared))
    return replace(who, commit=checkout.label, dirty=checkout.dirty)


def _packages(
    project: Project, target: Target, declared: declare.Declared, carrier: Carrier | None
) -> Packages:
    """Where bytes come from: the carrier, or else the sources."""
    packages, limit = declared.packages, project.max_package_size
    if carrier is not None:
        return CarriedPackages(carrier.file, packages, max_size=limit)
    return SourcePackages(
        packages,
        project.root,
        max_size=limit,
        allow_files=target.allow_files,
        digests=declared.digests,
    )
