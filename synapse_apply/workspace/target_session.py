"""How the parts of one target are built, each at its first use, and closed at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, cached_property
from typing import TYPE_CHECKING, Self
from uuid import uuid4

from synapse_apply import __version__
from synapse_apply.applying.step import Actor, FinalPermit
from synapse_apply.kinds.descriptor import Api
from synapse_apply.manifests.decode.loading import LoadedManifests, nothing_declared_finding
from synapse_apply.manifests.files import explain_file_of_others
from synapse_apply.manifests.project.targets import choose_and_fill_target
from synapse_apply.manifests.yaml.reader import read_single_mapping
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import InputError, SecretUnavailable, StateError
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.plan import Plan
from synapse_apply.model.ports import Clock, Packages, Secrets
from synapse_apply.model.project import EMBEDDED, Project, Target
from synapse_apply.model.remote import HttpConnection
from synapse_apply.model.resource import Capabilities
from synapse_apply.model.secrets.secret_rules import LOGIN_FILE_LABEL, Login
from synapse_apply.model.state import BackendIdentity, ProjectAndKeyIds, Uptime
from synapse_apply.planning.plan_input import ResourceState
from synapse_apply.secrets.keys import StateKey, StateKeys
from synapse_apply.secrets.macs import generate_salt
from synapse_apply.secrets.resolve import SecretResolver, SecretStore
from synapse_apply.secrets.signatures import RunSigner, StateKeySigner
from synapse_apply.stores.sql import SqlStore
from synapse_apply.workspace import configuration, embedded, own_folder, state_access, state_key
from synapse_apply.workspace.embedded import EmbeddedBackend, run_embedded_backend
from synapse_apply.workspace.environment import (
    CheckoutState,
    SystemClock,
    build_actor,
    read_head_commit_id_or_empty,
    read_uptime,
)
from synapse_apply.workspace.invocation import Invocation
from synapse_apply.workspace.offline_target import OfflineTarget
from synapse_apply.workspace.recovery_journal import Journals
from synapse_apply.workspace.state_project import project_findings

if TYPE_CHECKING:
    from synapse_apply.applying.settle import ResolvedIntent
    from synapse_apply.workspace.backend import ConnectedBackend


@frozen
class PlanResult:
    """A plan and what it was made from, which apply uses again."""

    plan: Plan
    resources: Mapping[Address, ResourceState]
    resolved_intents: tuple[ResolvedIntent, ...] = ()
    capabilities: Capabilities = Capabilities()


class TargetSession(OfflineTarget):
    """One target with its backend and its state; a context manager that closes what was opened.

    Nothing is connected or read before it is used. `open_context` returns a session that is checked
    and ready for a plan, `open_state` one for the state alone.

    `diagnostics` are the warnings of `prepare_for_plan`. `lock_wait_seconds` is for
    a lock that another run holds. `pause` sleeps for seconds; `new_salt` returns the salt of a new
    record, `uptime` the time since boot. `call_permit` says whether calls may begin.
    """

    version = __version__
    diagnostics: tuple[Diagnostic, ...] = ()
    # What was seen at the place of a shared state before this run; known once there is a store.
    seen_place: own_folder.SeenPlace | None = None

    def __init__(
        self, invocation: Invocation, *, read_only: bool = False, retries: int = 3
    ) -> None:
        """`read_only`: no data is created for an embedded backend without data.

        `retries` is how often a failed call is repeated.
        """
        super().__init__(invocation)
        self.parallelism = invocation.parallelism
        self.clock: Clock = SystemClock()
        self.pause: Callable[[float], None] = time.sleep
        self.new_salt: Callable[[], str] = generate_salt
        self.uptime: Callable[[], Uptime] = read_uptime
        self.call_permit = FinalPermit()
        self._read_only = read_only
        self._retries = retries
        self._closing = ExitStack()
        self._loaded_keys: StateKeys | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        """Remember the progress of a state that was locked, or is shared and was read; close."""
        # A store that has just failed is not asked again, unless it was read before.
        with self._closing, suppress(StateError):
            if "store" in vars(self) and (
                self.store.was_locked_here
                or (self._shared_place_id and (not error_type or self.store.bookmark))
            ):
                self._require_not_older()

    def _require_not_older(self) -> None:
        self.last_seen_files.require_state_not_older_and_remember_it(
            self.store, self.target, self._shared_place_id, read_only=self._read_only
        )

    @cached_property
    def target(self) -> Target:
        """The chosen target, completed from the environment and a login; InputError."""

        @cache
        def find_login() -> Login | None:
            # Here, not above: most targets lack nothing that a login could give.
            from synapse_apply.secrets.login import login_path_of, read_login

            path = login_path_of(self.invocation.environ)
            if path is not None and own_folder.is_from_commit(path):
                return Login(
                    LOGIN_FILE_LABEL, problem="Git tracks it, so a commit may have created it"
                )
            return read_login(self.invocation.environ)

        target = choose_and_fill_target(
            self.project,
            self.invocation.target,
            self.invocation.environ,
            self.invocation.on_terminal,
            find_login,
        )
        return replace(
            target,
            opened=(*target.opened, *self.invocation.opened),
            policy=target.policy.at(self.today),
        )

    @cached_property
    def resolver(self) -> SecretResolver:
        """Resolves references of manifests and settings, within what the target allows."""
        resolver = SecretResolver(
            self.project.root,
            self.invocation.environ,
            self.target.allow_env,
            self.target.allow_files,
            replace(self.project.reserved, opened=self.target.opened),
            self.target.source_settings,
            self.target.name,
            read_single_mapping,
            self._read_committed_secret if self.invocation.as_of else None,
            connect_http=self._connect_to_secrets,
            require_server=self._require_secret_server,
            without_checkout=self.invocation.without_checkout,
            readable_files=self.invocation.readable_files,
        )
        self._closing.callback(resolver.close)
        return resolver

    def _connect_to_secrets(self, origin: str, ca_file: str) -> HttpConnection:
        """Connect to the target's Vault; SecretUnavailable where no credential may go there."""
        # Here, not above: most targets have no such server.
        from synapse_apply.workspace.backend import prepare_secret_connection

        self._require_secret_server(origin, "vault")
        return prepare_secret_connection(origin, ca_file)

    def _require_secret_server(self, origin: str, setting: str) -> None:
        from synapse_apply.workspace.backend import require_secret_server

        require_secret_server(origin, self.target, setting, self.invocation)

    def _read_committed_secret(self, path: str) -> bytes | None:
        """A file as the revision of the manifests has it, None for one outside of the project."""
        reason = explain_file_of_others(path, self.project, self.target)
        if reason and self.invocation.without_checkout:
            raise SecretUnavailable.from_summary(
                "Secret not allowed",
                f"{path} {reason}: the controller would not notice its changes for this target",
                "Keep the secret in another folder.",
            )
        with configuration.open_committed_folder(self.project, self.invocation.as_of) as folder:
            return folder.read_secret(path)

    @cached_property
    def actor(self) -> Actor:
        """Who runs this, at the checkout's commit; once ready for a plan, at the manifests'."""
        is_read = not self.invocation.without_checkout
        commit = read_head_commit_id_or_empty(self.project.root) if is_read else ""
        return build_actor(self.invocation, CheckoutState(commit))

    @cached_property
    def store(self) -> SqlStore:
        """The store, with or without a state; StateError for an untrusted file in its place."""
        state_access.require_allowed_files(self)
        store = state_access.open_store(
            self.project, self.target, self.invocation.environ, self.store_signer
        )
        self._closing.callback(store.close)
        state_access.require_hosts_of_passwords(self)
        if store.is_shared and not self.target.is_embedded:
            place_id = own_folder.build_place_id(self.project, self.target, store.where)
            self.seen_place = self.last_seen_files.find_place(place_id)
            if self.seen_place is not None:
                store.require_continuation_in_reads(self.seen_place.bookmark)
        return store

    @property
    def state_url(self) -> str:
        """The url of the target's state, which may hold a password; as `resolve_state_url`."""
        url, environ = self.target.state.url, self.invocation.environ
        return state_access.resolve_state_url(url, self.project, environ)

    @property
    def _shared_place_id(self) -> str:
        """Under which name the place of a shared state is remembered; "" where it is not to be.

        That is any other state, and one that is not verified: who wrote it is unknown.
        """
        if not self.is_state_shared or not self.store.is_verified:
            return ""
        return own_folder.build_place_id(self.project, self.target, self.store.where)

    @cached_property
    def store_signer(self) -> StateKeySigner:
        """Signs what is written to a store that others can write to, with the state key in use."""

        def get_keys() -> StateKeys:
            return self._loaded_keys if self._loaded_keys is not None else self.reload_state_keys()

        def describe_places_to_put_key() -> str:
            return self.key_sources.describe_places_to_put_key()

        return StateKeySigner("link of a state", get_keys, describe_places_to_put_key)

    @cached_property
    def lock_wait_seconds(self) -> float:
        """Seconds to wait for a state that another run has locked."""
        return self.invocation.choose_lock_wait_seconds(self.store.lease_seconds)

    @cached_property
    def last_seen_files(self) -> own_folder.LastSeenFiles:
        """The files that remember the progress of this target's states."""
        return own_folder.last_seen_files_of(self.project, self.target, self.invocation.environ)

    @cached_property
    def state_keys(self) -> StateKeys:
        """The available state keys; InputError for one that cannot be used."""
        return self.reload_state_keys()

    @property
    def key_sources(self) -> state_key.KeySources:
        """The places of the target's state key.

        A file of the project that has it is read where the settings are from, so that no commit
        that is only planned chooses the key, and none of before a new key has to be read.
        """
        resolver, given = self.resolver, self.invocation
        if given.project_from or (given.as_of and not given.without_checkout):
            resolver = self._resolver_of_settings
        return state_key.build_key_sources(
            self.project,
            self.target,
            self.invocation.environ,
            resolver.resolve_setting_or_reason,
        )

    @cached_property
    def _resolver_of_settings(self) -> SecretResolver:
        def read_file(path: str) -> bytes | None:
            if not (ref := self.invocation.project_from):
                return None  # then the checkout has it
            with configuration.open_committed_folder(self.project, ref) as folder:
                return folder.read_secret(path)

        resolver = self.resolver.with_files_from(read_file)
        self._closing.callback(resolver.close)
        return resolver

    def reload_state_keys(self, *, create: bool = False) -> StateKeys:
        """Read the state keys again: the one in use first, then those that can only check.

        `create` writes a new key file beside a local state where there is no key.
        """
        keys = self.key_sources.load_keys()
        if create and keys.current_key is None:
            self.key_sources.make_or_read_key_file(
                state_key.key_path_beside_state(self.project, self.target)
            )
            keys = self.key_sources.load_keys()
        self._loaded_keys = keys
        return keys

    def use_key(self, key: StateKey) -> None:
        """Sign and digest with a key in this run, wherever commands look for keys."""
        keys = self.reload_state_keys()
        self._loaded_keys = replace(keys, all_keys=tuple(dict.fromkeys((key, *keys.all_keys))))

    @property
    def is_state_shared(self) -> bool:
        """Whether several machines use this state, and so need the same key and project."""
        # The data of an embedded backend is on this machine, wherever its state may be.
        return self.store.is_shared and not self.target.is_embedded

    def read_shared_ids(self) -> ProjectAndKeyIds | None:
        """What all who use this state must have in common; None where only this machine does."""
        return self.store.read_project_and_key_ids() if self.is_state_shared else None

    @cached_property
    def signer(self) -> RunSigner:
        """Signs the results of runs with the state key; StateError without a state."""
        return RunSigner(self.state_keys, self.store.read_lineage())

    @cached_property
    def secrets(self) -> Secrets:
        """Resolves secrets, and digests them with the state key."""
        return SecretStore(self.resolver, self.state_keys)

    @cached_property
    def packages(self) -> Packages:
        """Opens the packages of declared releases."""
        # Here, not above: most commands open no package.
        from synapse_apply.packages.upload import SourcePackages

        sources = self.declared_target.sources
        return SourcePackages(
            self.declared_target.packages,
            self.project.root,
            max_size=self.project.max_package_size,
            allow_files=self.target.allow_files,
            zip_stamps=sources.zip_stamps if sources is not None else None,
        )

    @cached_property
    def embedded_backend(self) -> EmbeddedBackend | None:
        """The running embedded backend; None for a target with another backend. StateError."""
        if not self.target.is_embedded:
            return None
        backend = run_embedded_backend(self.project.root, read_only=self._read_only)
        return self._closing.enter_context(backend)

    @cached_property
    def backend(self) -> ConnectedBackend:
        """The client of the backend; sends nothing yet.

        InputError without a url or a token, or for a host that the token may not be sent to.
        """
        # Here, not above: a command that asks no backend needs no HTTP.
        from synapse_apply.workspace.backend import connect_backend_or_raise_without_credentials

        backend = connect_backend_or_raise_without_credentials(
            self.target,
            self.embedded_backend,
            self.invocation,
            self.resolver.resolve_setting,
            retries=self._retries,
            find_refusal=self._block_reason,
            find_mutation_refusal=self._explain_missing_permit,
        )
        return self._closing.enter_context(backend)

    def _block_reason(self) -> str:
        """Why no further request may be sent, "" while requests may.

        A process may be suspended between two instructions and resume when another holds its lock.
        """
        is_lock_lost = "store" in vars(self) and self.store.is_lock_lost()
        return "the lock on the state was lost" if is_lock_lost else ""

    def _explain_missing_permit(self) -> str:
        return self.call_permit.explain_missing_or_empty()

    @cached_property
    def api(self) -> Api:
        """The calls of the backend."""
        return self.backend.api

    @cached_property
    def existing_store(self) -> SqlStore | None:
        """The store if it has a state, else None. StateError for the state of another backend."""
        if not self.store.exists():
            return None
        self.require_own_state(self.backend.state_identity, self.backend.embedded)
        self._require_own_project()
        return self.store

    def require_own_state(self, identity: BackendIdentity, backend: EmbeddedBackend | None) -> None:
        """Require a state that is this target's, or StateError that says what to do.

        Only the state of a new embedded data set is created here, because nothing can be lost by
        it; its key is made first, since a store that others can write to is signed from its first
        entry on.
        """
        store, target = self.store, self.target
        if not store.exists():
            if backend is None:
                raise state_access.build_missing_state_error(target, self.seen_place)
            # Objects without a memory: to create all again would double them.
            if not backend.is_new:
                raise state_access.embedded_mismatch(target, state_access.NO_STATE_TEXT)
            self.reload_state_keys(create=True)
            store.create_state(identity, target.state.lineage or str(uuid4()))
            return
        if backend and store.read_backend_identity().data_set != identity.data_set:
            raise state_access.embedded_mismatch(target, state_access.OTHER_DATA_TEXT)
        header = store.read_header()
        findings = (
            *state_access.identity_findings(header.identity, target, identity),
            *state_access.lineage_findings(header.lineage, target),
        )
        if findings:
            raise StateError(*findings)

    def _require_own_project(self) -> tuple[Diagnostic, ...]:
        """StateError for the shared state of another project or target, a warning for none's."""
        if (shared_ids := self.read_shared_ids()) is None:
            return ()
        findings = project_findings(shared_ids, self.project, self.target)
        return state_access.require_no_error(findings)

    def require_state_unless_embedded(self) -> bool:
        """Whether there is a state; StateError where there is none, but for the embedded target."""
        if self.store.exists():
            return True
        if not self.target.is_embedded:
            raise state_access.build_missing_state_error(self.target, self.seen_place)
        return False

    def session_of(self, target: Target) -> TargetSession:
        """A session of another target of the project, not completed from the environment."""
        session = TargetSession(self.invocation)
        session.project = self.project
        session.target = replace(target, policy=target.policy.at(session.today))
        return session

    def prepare_for_plan(self, *, accept_other_key: bool = False) -> None:
        """Raise unless all that a plan needs exists and fits together; sends nothing.

        ManifestError with every finding before anything is connected, StateError when the state is
        missing, of another backend or project, or (without `accept_other_key`) of another key.
        Creates the state of a new embedded data set, with its key.
        """
        desired, declared, store = self.desired, self.declared_target, self.store
        self.store_signer.accepts_former_keys = accept_other_key
        if accept_other_key:
            # What a former key has signed since this machine saw the state under the key in use is
            # no rekey that was cut short then.
            seen, used_key = self.seen_place, self.reload_state_keys().current_key
            if seen is not None and used_key is not None and seen.key_id == used_key.key_id:
                self.store_signer.accepts_former_keys = False
        project, target = self.project, self.target
        if self.invocation.without_checkout and not target.is_embedded and not store.exists():
            state_access.require_state_elsewhere(self)
        if project.file is None and not (desired or store.exists()):
            paths = [*map(str, self.invocation.paths)]
            raise InputError(nothing_declared_finding(project, "plan", paths))
        # Who only reads must not create a state.
        if self._read_only and not self.require_state_unless_embedded():
            raise StateError.from_summary(
                "There is no state for this target",
                f"Nothing has been applied to target {target.name} yet, so it has no records.",
                Text(Command("apply"), " creates its state."),
            )
        self.require_own_state(self.backend.state_identity, self.backend.embedded)
        # Before a plan is made: from an old copy it would create objects a second time.
        self._require_not_older()
        project_warnings = self._require_own_project()
        keys = self.state_keys = self.reload_state_keys()
        shared_ids = None if accept_other_key else self.read_shared_ids()
        key_id = shared_ids.key_id if shared_ids is not None else ""
        key_findings = state_key.missing_key_findings(keys, self.key_sources, desired, key_id)
        self.diagnostics = (
            *declared.diagnostics,
            *state_access.require_no_error(key_findings),
            *project_warnings,
            *store.list_warnings(),
            *self.journals(store.read_lineage()).warn(store.read_state, only_genuine=True),
        )
        self.mask_secrets_of(declared.manifests)
        commit = declared.commit
        checkout = CheckoutState(commit.id) if commit else self.read_checkout()
        self.actor = build_actor(self.invocation, checkout)

    def journals(self, lineage: str) -> Journals:
        """The journals of this target that its state, of this lineage, does not know of yet."""
        return Journals(self.project, self.target, self.state_keys, lineage)

    @cached_property
    def answered_ids(self) -> frozenset[str]:
        """The ids of calls whose answer a recovery journal has: none of them can act any more."""
        return self.journals(self.store.read_lineage()).answered_ids()

    def mask_secrets_of(self, manifests: LoadedManifests) -> None:
        """Mask the secrets of these manifests in all further answers of the backend."""
        from synapse_apply.workspace.backend import mask_declared

        mask_declared(
            self.backend.redactor,
            manifests.desired.values(),
            manifests.marks,
            self.resolver.resolve_secret,
        )

    @contextmanager
    def lock_state_of_own_project(self, operation: str) -> Iterator[None]:
        """Lock the state for writing; LockHeld if another run keeps it too long.

        StateError for the shared state of another project or target, which no command writes to
        but a rebind. The lock's number is remembered at once: this run may be killed, and a copy of
        the state from before it must not be taken for the newest.
        """
        self._require_own_project()
        with self.store.lock(operation, self.lock_wait_seconds):
            self._require_not_older()
            yield

    def note_in_audit(
        self, rows: Iterable[tuple[Address, str, str]], plan_id: str = "", moment: str = ""
    ) -> None:
        """Append entries of changes of the state without a call: address, verb and remote id.

        They are of one run, a new one without a `plan_id`.
        """
        plan_id, moment = plan_id or str(uuid4()), moment or self.clock.utc_now()
        self.store.append_audit_entries(
            *(
                self.actor.build_state_audit_entry(
                    address, verb, moment=moment, plan_id=plan_id, remote_id=remote_id
                )
                for address, verb, remote_id in rows
            )
        )

    def known_addresses_of_state(self) -> set[Address]:
        """The addresses with a record or an open call."""
        state = self.store.read_state()
        return {*state.records, *(intent.address for intent in state.open_intents)}


@contextmanager
def open_state(invocation: Invocation, *, read_only: bool = False) -> Iterator[TargetSession]:
    """A session for a target's state, without manifests and backend.

    It waits for a lock only as long as `invocation.lock_timeout` asks for.
    """
    with TargetSession(invocation, read_only=read_only) as session:
        # A `state` command fails at once when another run holds the lock, unless told to wait.
        session.lock_wait_seconds = invocation.lock_timeout or 0.0
        # What is remembered beside the project is looked for before anything may be made there.
        _ = session.store, session.last_seen_files
        yield session


@contextmanager
def open_context(
    invocation: Invocation, *, read_only: bool = False, accept_other_key: bool = False
) -> Iterator[TargetSession]:
    """A session that is ready for a plan; InputError with every finding before it connects.

    StateError when the state is missing, or of another backend, project or (without
    `accept_other_key`) state key. Sends nothing. `read_only`: no state is created.
    """
    with TargetSession(invocation, read_only=read_only) as session:
        session.prepare_for_plan(accept_other_key=accept_other_key)
        yield session


def create_embedded_data_set(project: Project, invocation: Invocation, profile: str = "") -> bool:
    """Create the data set, then the key and the state, as an apply does; returns whether it did.

    Nothing is created where one of them exists: the next apply reports what does not fit. Where
    the state cannot be created the data set stays, and the next apply creates the state.
    """
    from synapse_apply.emulator.core.data_folder import DATABASE

    with TargetSession(invocation) as session:
        session.project, session.target = project, project.targets[EMBEDDED]
        if session.store.exists() or (embedded.data_folder_path(project.root) / DATABASE).exists():
            return False
        with embedded.run_embedded_backend(project.root, profile=profile) as backend:
            identity = state_access.build_state_identity(backend.url, session.target, backend)
            session.require_own_state(identity, backend)
    return True
