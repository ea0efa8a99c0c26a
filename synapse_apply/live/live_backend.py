"""How commands read single live objects by hand, without manifests and without a state.

The state is read only to resolve names, and written only to note calls in its audit.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property

from synapse_apply.kinds.wire import list_raw_objects, read_in_full, require_remote_id_of_answer
from synapse_apply.live.named_secrets import with_free_form_secret, with_named_secrets
from synapse_apply.manifests.files import scan_secret_refs
from synapse_apply.manifests.schemas import build_marks
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.errors import InputError, Invalid, NotFound, StateError, SynapseApplyError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_types import ServerObject
from synapse_apply.model.resource import Desired, Lookup, Observed
from synapse_apply.model.secrets.secret_marks import SecretMarks
from synapse_apply.model.state import AuditEntry
from synapse_apply.workspace.backend import mask_references
from synapse_apply.workspace.invocation import Invocation
from synapse_apply.workspace.target_session import TargetSession

# A note is no reason to keep somebody waiting who has the answer already.
_AUDIT_LOCK_SECONDS = 5.0


class LiveBackend(TargetSession):
    """A target for commands that name live objects."""

    @cached_property
    def careful_marks(self) -> SecretMarks:
        """Which fields are secret, according to schemas, state and manifests.

        Where the state cannot be read or is not verified, every free-form field is secret.
        Manifests with errors are ignored.
        """
        of_kinds = build_marks(self.project.providers)
        try:
            state = self.existing_store.read_state() if self.existing_store else None
        except SynapseApplyError:
            return with_free_form_secret(of_kinds, self.catalogue)
        desired: Mapping[Address, Desired] = {}
        with suppress(SynapseApplyError, OSError):
            desired = self.manifests_alone.desired
        records, intents = (state.records, state.calls) if state else ({}, ())
        return with_named_secrets(self, of_kinds, desired, records, intents)

    def reread_state_at_next_use(self) -> None:
        """Read the state again at its next use, and what depends on it."""
        for name in ("careful_marks", "existing_store"):
            vars(self).pop(name, None)

    def known_id(self, prefix: str, text: str) -> str | None:
        """The id in a typed `123` or `id=123`, or the recorded one of a name; None without one.

        InputError for an unrecorded address, which can mean nothing else. A record of another API
        version is looked up by its natural key, because its id is not valid in this one.
        """
        name = text.removeprefix(f"{prefix}/")
        if name.startswith("id=") and name != "id=":
            return name.removeprefix("id=")
        if name.isdecimal():
            return name
        store = self.existing_store
        record = store.find_record(Address(prefix, name)) if store else None
        if record is not None:
            if record.api == self.select_binding(prefix).api:
                return record.remote_id
            matches = self.search(prefix, record.natural_key.partition("=")[2])
            return require_remote_id_of_answer(matches[0]) if len(matches) == 1 else None
        if name != text:
            raise InputError.from_summary(
                "No such record",
                f"{text} is not recorded in the state of target {self.target.name}.",
                Text(
                    Command("state show"),
                    " lists the recorded addresses. Or specify the id as id=123.",
                ),
            )
        return None

    def search(self, prefix: str, text: str) -> Sequence[ServerObject]:
        """Objects with this code or name, as far as this API can search."""
        binding = self.select_binding(prefix)
        keys = {f"code={text}", f"name={text}"}
        if binding.find_by_key is not None:
            with suppress(NotFound):
                if matches := binding.find_by_key(self.api, f"code={text}"):
                    return matches
        listed = list_raw_objects(self.api, binding) or ()
        matches = [raw for raw in listed if keys & set(binding.list_natural_keys(raw))]
        return read_in_full(self.api, binding, matches)

    def read(self, prefix: str, object_id: str) -> ServerObject:
        """Read the object with this id; InputError, with the request id, where there is none."""
        kind_name = self.catalogue[prefix].kind.lower()
        try:
            return self.select_binding(prefix).read_object(self.api, object_id)
        except NotFound as failure:
            raise not_found_error(kind_name, object_id, failure) from None
        except Invalid as failure:
            # With a status the server refused it; without one it was not sent.
            if failure.status_code:
                raise
            raise build_malformed_id_error(kind_name, object_id, failure) from None

    def decode(self, prefix: str, raw: ServerObject) -> LiveObject:
        """Decode a server's object, and wrap its secrets."""
        observed = self.select_binding(prefix).decode(raw, self.careful_marks)
        created = raw.get("created", raw.get("created_at"))
        return LiveObject(observed, created if isinstance(created, str) else "")

    def find(self, prefix: str, text: str) -> LiveObject:
        """Read the object that a text names: by id, by a recorded name, or by its natural key.

        InputError when there is none or there are several; RemoteError when it cannot be read.
        """
        object_id = self.known_id(prefix, text)
        if object_id is not None:
            return self.decode(prefix, self.read(prefix, object_id))
        matches = self.search(prefix, text)
        if len(matches) == 1:
            return self.decode(prefix, matches[0])
        name = self.catalogue[prefix].kind.lower()
        if matches:
            ids = [require_remote_id_of_answer(raw) for raw in matches]
            raise InputError.from_summary(
                f"Several {name}s have this name",
                f"{text!r} is the name of ids {', '.join(ids)}.",
                f"Specify the id as id={ids[0]}.",
            )
        raise InputError.from_summary(
            f"There is no such {name}",
            f"No {name} {text!r} is recorded in the state or found on target {self.target.name}.",
            self._advise_on_unknown(prefix, text),
            request_id=self.backend.request_id() or None,
        )

    def find_if_told(self, prefix: str, text: str) -> None:
        """InputError where this backend can tell that there is no object of this name.

        Of an id it can, of a name where it lists all objects of the kind; else nothing is raised.
        """
        binding = self.select_binding(prefix)
        can_tell = (
            self.known_id(prefix, text) is not None or Lookup.COMPLETE in binding.lookup.values()
        )
        if can_tell or list_raw_objects(self.api, binding) is not None:
            self.find(prefix, text)

    def _advise_on_unknown(self, prefix: str, text: str) -> str:
        kind = self.catalogue[prefix]
        if kind.series_field and "@" not in text:
            owner = kind.series_field
            return Text(
                f"Specify CODE@VERSION, such as {text}@1.0.0, or the id as id=123. ",
                Command(f"get {kind.kind.lower()}s --{owner}", text),
                f" lists the releases of a {owner}.",
            )
        if Lookup.COMPLETE in self.select_binding(prefix).lookup.values():
            return "Check the name, the target, its token and its tenant."
        return (
            "Specify the id as id=123: this API finds a plugin by its code only if the plugin "
            "has releases."
        )

    def plugin_id_of_v1(self, plugin_id: str) -> str:
        """The plugin's id in API v1, in which runs and jobs are called."""
        runs_as = self.select_binding("release").resolve_run_owner
        return runs_as(self.api, plugin_id) if runs_as is not None else plugin_id

    def audit(self, verb: str, address: str, remote_id: str, result: str) -> Diagnostic | None:
        """Note a call in the audit of the target's state, where there is one.

        No record depends on the note, so a failure to write it is only a warning.
        """
        actor = self.actor
        entry = AuditEntry(
            at=self.clock.utc_now(),
            who=actor.who,
            run=actor.run,
            command=actor.command,
            plan_id=str(uuid.uuid4()),
            address=address,
            verb=verb,
            remote_id=remote_id,
            request_id=self.backend.request_id(),
            result=result,
        )
        try:
            if (store := self.existing_store) is not None:
                with store.lock(verb, min(self.lock_wait_seconds, _AUDIT_LOCK_SECONDS)):
                    store.append_audit_entries(entry)
                # A job may be followed for hours now: no connection is held for it.
                store.close()
        except StateError as problem:
            reason = "; ".join(diagnostic.summary for diagnostic in problem.diagnostics)
            return warning_finding(
                "`state history` will not show this call",
                f"{verb} of {address} was sent, but the state could not be written: {reason}.",
            )
        return None


@frozen
class LiveObject:
    """A decoded live object with its secrets wrapped, and its creation time."""

    observed: Observed
    created: str = ""


@contextmanager
def open_live_backend(invocation: Invocation) -> Iterator[LiveBackend]:
    """Open the backend of a target; sends nothing yet. InputError without a url or a token."""
    with LiveBackend(invocation) as live_backend:
        # The values of the project's secret references, in the backend's answers.
        mask_references(
            live_backend.backend.redactor,
            scan_secret_refs(live_backend.project, live_backend.target),
            build_marks(live_backend.project.providers),
            live_backend.resolver.resolve_secret,
        )
        yield live_backend


def build_malformed_id_error(
    kind_name: str, object_id: str, failure: Invalid, hint: str = ""
) -> InputError:
    """The error for an id that cannot be a part of a path, so that nothing was sent."""
    return InputError.from_summary(
        f"This is not the id of a {kind_name}",
        f"{object_id!r}: {failure}.",
        hint or "Specify the id that Synapse shows, as id=123.",
    )


def not_found_error(kind_name: str, name: str, failure: NotFound, hint: str = "") -> InputError:
    """The error for a 404."""
    return InputError.from_summary(
        f"There is no such {kind_name}",
        f"The backend has no {kind_name} {name}, or this token may not see it (404).",
        hint or "Check the name or the id, the target, its token and its tenant.",
        request_id=failure.request_id,
    )
