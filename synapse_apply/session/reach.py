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
from synapse_apply.kinds.descriptor import Binding, Catalogue, Raw, ResourceType
from synapse_apply.kinds.search import probe, whole
from synapse_apply.kinds.wire import remote_id
from synapse_apply.manifests.quoted_refs import list_references
from synapse_apply.manifests.shapes import marks_with
from synapse_apply.model.address import Address
from synapse_apply.model.desired import Desired
from synapse_apply.model.diagnostic import Diagnostic, warning
from synapse_apply.model.errors import InputError, NotFound, StateError, SynapseApplyError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.marks import SecretMarks
from synapse_apply.model.observed import Lookup, Observed
from synapse_apply.model.ports import Api, Clock, StateStore
from synapse_apply.model.project import Project, Target
from synapse_apply.model.state import AuditEntry
from synapse_apply.secrets.resolve import Resolver
from synapse_apply.session import declare, state_file
from synapse_apply.session.backend import Backend, connected
from synapse_apply.session.known_secrets import know_references
from synapse_apply.session.named_secrets import add_named_secrets, hide_free_form_fields
from synapse_apply.session.surroundings import SystemClock, actor
from synapse_apply.session.where import Where

# A note is no reason to keep somebody waiting who has the answer already.
_NOTE_PATIENCE = 5.0


@frozen
class Reach:
    """A connected backend, and how its objects are read and named."""

    where: Where
    project: Project
    target: Target
    backend: Backend
    marks: Callable[[], SecretMarks]
    clock: Clock = field(default_factory=SystemClock)
    catalogue: Catalogue = field(default_factory=lambda: CATALOGUE)

    @property
    def api(self) -> Api:
        return self.backend.api

    def kind(self, prefix: str) -> tuple[ResourceType, Binding]:
        """A kind, and its calls on this target."""
        kind = self.catalogue[prefix]
        return kind, kind.binding(self.target.api)


@frozen
class Live:
    """A live object as its kind reads it, secrets wrapped, and what else the server says."""

    observed: Observed
    created: str = ""


@contextmanager
def open_backend(where: Where) -> Iterator[Reach]:
    """The backend of a target; nothing is sent yet. InputError without a url or a token."""
    project, target = declare.target_of(where)
    with connected(project, target, where.environ, where.parallelism) as backend:
        _mask_references(where, project, target, backend)
        reach = Reach(where, project, target, backend, lambda: _read_marks(reach))
        yield replace(reach, marks=cache(reach.marks))


def _read_marks(reach: Reach) -> SecretMarks:
    """Which fields are secret, as schemas, state and manifests say; asked for once.

    Where the state cannot be read, no free-form field is shown. Manifests may be broken.
    """
    of_kinds = marks_with(reach.project.providers)
    try:
        with state_of(reach) as store:
            state = store.read() if store else None
    except SynapseApplyError:
        return hide_free_form_fields(of_kinds, reach.catalogue)
    desired: Mapping[Address, Desired] = {}
    with suppress(SynapseApplyError, OSError):
        desired = declare.loaded(reach.where, reach.project, reach.target).desired
    records, intents = (state.records, state.open_intents) if state else ({}, ())
    return add_named_secrets(of_kinds, reach.catalogue, reach.target.api, desired, records, intents)


def _mask_references(where: Where, project: Project, target: Target, backend: Backend) -> None:
    """Mask what the project's files name for secrets, in all that the backend says."""
    allowed = (target.allow_env, target.allow_files, project.reserved)
    resolver = Resolver(project.root, where.environ, *allowed)
    references = list_references(project, target)
    at_hand = (r for r in references if r.source != "env" or r.name in where.environ)
    marks = marks_with(project.providers)
    know_references(backend.redactor, at_hand, marks, resolver.resolve)


@contextmanager
def state_of(reach: Reach) -> Iterator[StateStore | None]:
    """The target's state, None where there is none; StateError when it is another backend's."""
    store = state_file.open_store(reach.project, reach.target, reach.where.environ)
    try:
        if store.exists():
            state_file.ensure(store, reach.target, reach.backend.binding, reach.backend.embedded)
            yield store
        else:
            yield None
    finally:
        store.close()


def given_id(prefix: str, text: str) -> str | None:
    """The server's id in what a person typed: `123`, `id=123`; None for a name."""
    text = text.removeprefix(f"{prefix}/")
    if text.startswith("id="):
        return text.removeprefix("id=") or None
    return text if text.isdecimal() else None


def recorded_id(reach: Reach, prefix: str, text: str) -> str | None:
    """The id that the state has for a name or an address; None where it has none.

    An address that is not recorded is an InputError: it can mean nothing else. What another API
    version made is looked up by its key: its id is none here.
    """
    name = text.removeprefix(f"{prefix}/")
    with state_of(reach) as store:
        record = store.record(Address(prefix, name)) if store else None
    if record is not None:
        binding = reach.kind(prefix)[1]
        if record.api == binding.api:
            return record.remote_id
        hits = by_key(reach, binding, record.natural_key.partition("=")[2])
        return remote_id(hits[0]) if len(hits) == 1 else None
    if name != text:
        raise InputError.of(
            "There is no such record",
            f"{text} is not recorded in the state of target {reach.target.name}.",
            "`synapse-apply state list` lists what is; or give the id, as id=123.",
        )
    return None


def run_name(reach: Reach, plugin: str) -> str:
    """The plugin with this id as the calls of runs and jobs know it, which are of v1."""
    runs_as = reach.kind("release")[1].runs_as
    return runs_as(reach.api, plugin) if runs_as is not None else plugin


def find(reach: Reach, prefix: str, text: str) -> Live:
    """The live object that a person means: by id, by a recorded name, by its natural key.

    InputError when there is none or there are several; RemoteError when it cannot be read.
    """
    kind, binding = reach.kind(prefix)
    found = given_id(prefix, text) or recorded_id(reach, prefix, text)
    if found is not None:
        return live(reach, binding, read(reach, prefix, found))
    hits = by_key(reach, binding, text)
    if len(hits) == 1:
        return live(reach, binding, hits[0])
    name = kind.kind.lower()
    if hits:
        ids = ", ".join(remote_id(raw) for raw in hits)
        raise InputError.of(
            f"Several {name}s have this name",
            f"{text!r} is the name of ids {ids}.",
            f"Give the id, as id={remote_id(hits[0])}.",
        )
    raise InputError.of(
        f"There is no such {name}",
        f"No {name} {text!r} is recorded in the state or found on target {reach.target.name}.",
        "Check the name, the target, its token and its tenant."
        if Lookup.COMPLETE in binding.lookup.values()
        else "Give its id, as id=123: this API finds only what has releases by its code.",
        request_id=reach.backend.request_id() or None,
    )


def read(reach: Reach, prefix: str, found: str) -> Raw:
    """The object with this id; InputError, with the request id, where there is none."""
    kind, binding = reach.kind(prefix)
    try:
        return binding.read(reach.api, found)
    except NotFound as failure:
        raise absent(kind.kind.lower(), found, failure) from None


def absent(what: str, name: str, failure: NotFound, hint: str = "") -> InputError:
    """A 404 in words."""
    failed = InputError.of(
        f"There is no such {what}",
        f"The backend has no {what} {name}, or this token may not see it (404).",
        hint or "Check the name or the id, the target, its token and its tenant.",
        request_id=failure.request_id,
    )
    return InputError(*failed.diagnostics)


def live(reach: Reach, binding: Binding, raw: Raw) -> Live:
    """A server's object as its kind reads it; its secrets are wrapped here."""
    created = raw.get("created", raw.get("created_at"))
    return Live(binding.decode(raw, reach.marks()), created if isinstance(created, str) else "")


def by_key(reach: Reach, binding: Binding, text: str) -> Sequence[Raw]:
    """Objects whose code or name this is, as far as this API can tell."""
    keys = {f"code={text}", f"name={text}"}
    if binding.find is not None:
        try:
            hits = binding.find(reach.api, f"code={text}")
        except NotFound:
            hits = []
        if hits:
            return hits
    listed = probe(reach.api, binding) or ()
    return whole(reach.api, binding, [raw for raw in listed if keys & set(binding.keys(raw))])


def note(reach: Reach, verb: str, address: str, remote_id: str, result: str) -> Diagnostic | None:
    """Tell the history of the target's state, where there is one, of a call that was made.

    These calls belong to no record, so nothing depends on the note: what keeps it from being
    written is a warning.
    """
    who = actor(reach.where.environ, reach.project.root)
    entry = AuditEntry(
        at=reach.clock.now(),
        who=who.who,
        run=who.run,
        command=reach.where.command,
        plan_id=str(uuid.uuid4()),
        address=address,
        verb=verb,
        remote_id=remote_id,
        request_id=reach.backend.request_id(),
        result=result,
    )
    try:
        with state_of(reach) as store:
            if store is not None:
                with store.lock(verb, min(reach.where.patience, _NOTE_PATIENCE)):
                    store.note(entry)
    except StateError as problem:
        why = "; ".join(one.summary for one in problem.diagnostics)
        return warning(
            "`history` will not show this call",
            f"{verb} of {address} went out, but the state could not be written: {why}.",
        )
    return None
