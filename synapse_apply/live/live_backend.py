"""One backend within reach: for commands that name objects by hand and need no manifests.

State is looked into only to know a name, and written to only to say what was called.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import field, replace
from functools import cache

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.descriptor import ApiBinding, Catalogue, Raw, ResourceType
from synapse_apply.kinds.search import list_if_supported, read_whole_objects
from synapse_apply.kinds.wire import extract_remote_id
from synapse_apply.live.named_secrets import add_named_secrets, hide_free_form_fields
from synapse_apply.manifests.files.quoted_refs import scan_secret_refs
from synapse_apply.manifests.schema.schemas import build_marks_with_project_providers
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.errors import InputError, NotFound, StateError, SynapseApplyError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.observed import Lookup, Observed
from synapse_apply.model.ports import Api, Clock, StateStore
from synapse_apply.model.project import Project, Target
from synapse_apply.model.resource import Desired
from synapse_apply.model.secrets.secret_marks import SecretMarks
from synapse_apply.model.state import AuditEntry
from synapse_apply.secrets.resolve import Resolver
from synapse_apply.workspace import configuration, state_access
from synapse_apply.workspace.backend import ConnectedBackend, connect_backend
from synapse_apply.workspace.environment import SystemClock, build_actor
from synapse_apply.workspace.invocation import Invocation
from synapse_apply.workspace.known_secrets import know_references

# A note is no reason to keep somebody waiting who has the answer already.
_AUDIT_LOCK_SECONDS = 5.0


@frozen
class LiveBackend:
    """A connected backend, and how its objects are read and named."""

    invocation: Invocation
    project: Project
    target: Target
    backend: ConnectedBackend
    marks: Callable[[], SecretMarks]
    clock: Clock = field(default_factory=SystemClock)
    catalogue: Catalogue = field(default_factory=lambda: CATALOGUE)

    @property
    def api(self) -> Api:
        return self.backend.api

    def find_kind_and_binding(self, prefix: str) -> tuple[ResourceType, ApiBinding]:
        """A kind, and its calls on this target."""
        kind = self.catalogue[prefix]
        return kind, kind.select_binding(self.target.api)


@frozen
class LiveObject:
    """A live object as its kind reads it, secrets wrapped, and what else the server says."""

    observed: Observed
    created: str = ""


@contextmanager
def open_live_backend(invocation: Invocation) -> Iterator[LiveBackend]:
    """The backend of a target; nothing is sent yet. InputError without a url or a token."""
    project, target = configuration.load_project_and_target(invocation)
    with connect_backend(project, target, invocation.environ, invocation.parallelism) as backend:
        _mask_references(invocation, project, target, backend)
        reach = LiveBackend(invocation, project, target, backend, lambda: _read_marks(reach))
        yield replace(reach, marks=cache(reach.marks))


def _read_marks(reach: LiveBackend) -> SecretMarks:
    """Which fields are secret, as schemas, state and manifests say; asked for once.

    Where the state cannot be read, no free-form field is shown. Manifests may be broken.
    """
    of_kinds = build_marks_with_project_providers(reach.project.providers)
    try:
        with open_existing_state(reach) as store:
            state = store.read_state() if store else None
    except SynapseApplyError:
        return hide_free_form_fields(of_kinds, reach.catalogue)
    desired: Mapping[Address, Desired] = {}
    with suppress(SynapseApplyError, OSError):
        desired = configuration.load_target_manifests(
            reach.invocation, reach.project, reach.target
        ).desired
    records, intents = (state.records, state.open_intents) if state else ({}, ())
    return add_named_secrets(of_kinds, reach.catalogue, reach.target.api, desired, records, intents)


def _mask_references(
    where: Invocation, project: Project, target: Target, backend: ConnectedBackend
) -> None:
    """Mask what the project's files name for secrets, in all that the backend says."""
    allowed = (target.allow_env, target.allow_files, project.reserved)
    resolver = Resolver(project.root, where.environ, *allowed)
    references = scan_secret_refs(project, target)
    at_hand = (r for r in references if r.source != "env" or r.name in where.environ)
    marks = build_marks_with_project_providers(project.providers)
    know_references(backend.redactor, at_hand, marks, resolver.resolve_secret)


@contextmanager
def open_existing_state(live_backend: LiveBackend) -> Iterator[StateStore | None]:
    """The target's state, None where there is none; StateError when it is another backend's."""
    store = state_access.open_store(
        live_backend.project, live_backend.target, live_backend.invocation.environ
    )
    try:
        if store.exists():
            state_access.ensure_state(
                store,
                live_backend.target,
                live_backend.backend.state_identity,
                live_backend.backend.embedded,
            )
            yield store
        else:
            yield None
    finally:
        store.close()


def parse_given_id(prefix: str, text: str) -> str | None:
    """The server's id in what a person typed: `123`, `id=123`; None for a name."""
    text = text.removeprefix(f"{prefix}/")
    if text.startswith("id="):
        return text.removeprefix("id=") or None
    return text if text.isdecimal() else None


def find_recorded_id(live_backend: LiveBackend, prefix: str, text: str) -> str | None:
    """The id that the state has for a name or an address; None where it has none.

    An address that is not recorded is an InputError: it can mean nothing else. What another API
    version made is looked up by its key: its id is none here.
    """
    name = text.removeprefix(f"{prefix}/")
    with open_existing_state(live_backend) as store:
        record = store.find_record(Address(prefix, name)) if store else None
    if record is not None:
        binding = live_backend.find_kind_and_binding(prefix)[1]
        if record.api == binding.api:
            return record.remote_id
        matches = find_by_key(live_backend, binding, record.natural_key.partition("=")[2])
        return extract_remote_id(matches[0]) if len(matches) == 1 else None
    if name != text:
        raise InputError.from_summary(
            "There is no such record",
            f"{text} is not recorded in the state of target {live_backend.target.name}.",
            "`synapse-apply state list` lists what is; or give the id, as id=123.",
        )
    return None


def resolve_run_plugin(live_backend: LiveBackend, plugin_id: str) -> str:
    """The plugin with this id as the calls of runs and jobs know it, which are of v1."""
    runs_as = live_backend.find_kind_and_binding("release")[1].resolve_run_owner
    return runs_as(live_backend.api, plugin_id) if runs_as is not None else plugin_id


def find_live_object(live_backend: LiveBackend, prefix: str, text: str) -> LiveObject:
    """The live object that a person means: by id, by a recorded name, by its natural key.

    InputError when there is none or there are several; RemoteError when it cannot be read.
    """
    kind, binding = live_backend.find_kind_and_binding(prefix)
    object_id = parse_given_id(prefix, text) or find_recorded_id(live_backend, prefix, text)
    if object_id is not None:
        return decode_live_object(
            live_backend, binding, read_raw_object(live_backend, prefix, object_id)
        )
    matches = find_by_key(live_backend, binding, text)
    if len(matches) == 1:
        return decode_live_object(live_backend, binding, matches[0])
    name = kind.kind.lower()
    if matches:
        ids = ", ".join(extract_remote_id(raw) for raw in matches)
        raise InputError.from_summary(
            f"Several {name}s have this name",
            f"{text!r} is the name of ids {ids}.",
            f"Give the id, as id={extract_remote_id(matches[0])}.",
        )
    raise InputError.from_summary(
        f"There is no such {name}",
        f"No {name} {text!r} is recorded in the state or found on target "
        f"{live_backend.target.name}.",
        "Check the name, the target, its token and its tenant."
        if Lookup.COMPLETE in binding.lookup.values()
        else "Give its id, as id=123: this API finds only what has releases by its code.",
        request_id=live_backend.backend.request_id() or None,
    )


def read_raw_object(live_backend: LiveBackend, prefix: str, object_id: str) -> Raw:
    """The object with this id; InputError, with the request id, where there is none."""
    kind, binding = live_backend.find_kind_and_binding(prefix)
    try:
        return binding.read_object(live_backend.api, object_id)
    except NotFound as failure:
        raise build_absent_error(kind.kind.lower(), object_id, failure) from None


def build_absent_error(kind_name: str, name: str, failure: NotFound, hint: str = "") -> InputError:
    """A 404 in words."""
    absent_error = InputError.from_summary(
        f"There is no such {kind_name}",
        f"The backend has no {kind_name} {name}, or this token may not see it (404).",
        hint or "Check the name or the id, the target, its token and its tenant.",
        request_id=failure.request_id,
    )
    return InputError(*absent_error.diagnostics)


def decode_live_object(live_backend: LiveBackend, binding: ApiBinding, raw: Raw) -> LiveObject:
    """A server's object as its kind reads it; its secrets are wrapped here."""
    created = raw.get("created", raw.get("created_at"))
    return LiveObject(
        binding.decode(raw, live_backend.marks()), created if isinstance(created, str) else ""
    )


def find_by_key(live_backend: LiveBackend, binding: ApiBinding, text: str) -> Sequence[Raw]:
    """Objects whose code or name this is, as far as this API can tell."""
    keys = {f"code={text}", f"name={text}"}
    if binding.find_by_key is not None:
        try:
            matches = binding.find_by_key(live_backend.api, f"code={text}")
        except NotFound:
            matches = []
        if matches:
            return matches
    raw_objects = list_if_supported(live_backend.api, binding) or ()
    return read_whole_objects(
        live_backend.api,
        binding,
        [raw for raw in raw_objects if keys & set(binding.list_natural_keys(raw))],
    )


def record_audit_entry(
    live_backend: LiveBackend, verb: str, address: str, remote_id: str, result: str
) -> Diagnostic | None:
    """Tell the history of the target's state, where there is one, of a call that was made.

    These calls belong to no record, so nothing depends on the note: what keeps it from being
    written is a warning.
    """
    run_actor = build_actor(live_backend.invocation.environ, live_backend.project.root)
    entry = AuditEntry(
        at=live_backend.clock.utc_now(),
        who=run_actor.who,
        run=run_actor.run,
        command=live_backend.invocation.command,
        plan_id=str(uuid.uuid4()),
        address=address,
        verb=verb,
        remote_id=remote_id,
        request_id=live_backend.backend.request_id(),
        result=result,
    )
    try:
        with open_existing_state(live_backend) as store:
            if store is not None:
                with store.lock(
                    verb, min(live_backend.invocation.lock_wait_seconds, _AUDIT_LOCK_SECONDS)
                ):
                    store.append_audit_entries(entry)
    except StateError as problem:
        reason = "; ".join(diagnostic.summary for diagnostic in problem.diagnostics)
        return warning_finding(
            "`history` will not show this call",
            f"{verb} of {address} went out, but the state could not be written: {reason}.",
        )
    return None
