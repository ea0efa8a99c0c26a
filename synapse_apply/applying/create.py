"""How a create is sent, tried again in plain forms, recorded, and looked up after a failure.

A create makes one object, or an owner and its companion of another kind. The intents of both are
stored before the call, and each is closed and recorded on its own, so that after an interruption
each object is looked up by its own key; a package that replaces another is told by its digest.

A field may have two forms: the preferred one is that of the platform's service, the plain one that
of the API page. A server that refuses only fields in their preferred form has done nothing, so the
same create is sent again with the plain ones.

Servers say that a natural key is taken with 409, or with 400 and words on the fields of the key.
The words decide nothing: the object is looked up, and the create is never sent again. An object
whose digest is that of our package is what was wanted. Any other object that is as declared is
adopted if that was allowed; it is ours then, and its package counts as unverified. One that
differs, or would be run or locked as if it were ours, is left for a plan that shows it.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from uuid import uuid4

from synapse_apply.applying import messages
from synapse_apply.applying.body import create_bodies, declared_fields, package_to_upload, with_macs
from synapse_apply.applying.call import Call
from synapse_apply.applying.lookup import (
    is_not_shown,
    may_be_created,
    published_digest,
    shows_other_package,
    unlike_sent,
)
from synapse_apply.applying.records import adopted_record, record_where_agreed
from synapse_apply.applying.run import Run
from synapse_apply.applying.step import Step
from synapse_apply.model.command import Command
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import Effect, RemoteError, SynapseApplyError
from synapse_apply.model.json_types import RequestBody, ServerObject
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.plan import Action
from synapse_apply.model.remote import parse_field_errors
from synapse_apply.model.report import Outcome, Result
from synapse_apply.model.resource import Observed
from synapse_apply.model.state import CREATE_VERB, REPLACE_VERB, IntentState

_BAD_REQUEST = 400
_INVALID_STATUSES = frozenset({_BAD_REQUEST, 422})
_PACKAGE_IS_FINAL = "This backend keeps the package that a version was published with: raise it."


class Create:
    """One create: the call of the step's own object, and that of its companion, if it has one."""

    def __init__(self, run: Run, step: Step) -> None:
        """Sends nothing yet."""
        self._run = run
        self._step = step
        bodies = create_bodies(step, run.backend, run.secrets.resolve_secret)
        self._body: RequestBody = bodies[0].body
        self._preferred = bodies[0].preferred
        self._calls = [
            Call(
                run,
                body.step,
                REPLACE_VERB if body.step.change.replaces_package else CREATE_VERB,
                body.fields,
            )
            for body in bodies
        ]
        self._owner = self._calls[0]

    def send(self) -> tuple[Outcome, ...]:
        """Send the create, and again for fields of which the server takes only the plain form.

        The outcomes are the step's and its companion's. Where the call certainly failed there is
        only the step's, as the companion was not tried.
        """
        address = package_to_upload(self._step)
        if address:  # packing takes disk space, so the number of concurrent ones is limited
            self._run.gate.take_slot()
        with self._run.packages.open_package(address) if address else nullcontext() as package:
            start = package.tell() if package is not None else 0
            kind = self._step.type.prefix, self._step.binding.api
            plain_names = {*self._run.plain_forms.get(kind, ())}
            while True:
                self._preferred = {
                    name: value
                    for name, value in self._preferred.items()
                    if name not in plain_names
                }
                body = {**self._body, **self._preferred}
                if package is not None:
                    package.seek(start)
                    body["file"] = package
                self._announce()
                try:
                    answer = self._post(body)
                except RemoteError as failure:
                    refused = self._names_refused(failure)
                    if not refused:
                        return self._failed(failure)
                    # Each attempt has its own intent and audit entry: the next run counts the age
                    # of a call from its own time, and the history shows every call that was made.
                    self._close_attempt("refused", failure.request_id)
                    for call in self._calls:
                        call.intent = replace(call.intent, id=str(uuid4()))
                    plain_names |= refused
                else:
                    self._run.plain_forms.setdefault(kind, set()).update(plain_names)
                    return self._done(answer)

    def _announce(self) -> None:
        # An intent that the next run could not resolve by a look-up is written at the last moment:
        # a run that is killed while it waits for a slot would leave it unknown although nothing was
        # sent.
        backend = self._run.backend
        before_slot = self._run.gate.slot.is_available_soon and all(
            backend.proves_absence(call.step, call.intent.natural_key)
            and call.intent.verb == CREATE_VERB
            for call in self._calls
        )
        intents = self._run.announce(
            *(call.intent for call in self._calls), before_slot=before_slot
        )
        for call, intent in zip(self._calls, intents, strict=True):
            call.intent = intent

    def _post(self, body: RequestBody) -> ServerObject:
        intent = self._owner.intent
        try:
            return self._step.binding.create_object(self._run.backend.api, body, intent.id)
        except SynapseApplyError:
            # The package changed while it was read: the body ended early, so nothing was created.
            self._close_attempt("failed", None)
            raise

    def _close_attempt(self, label: str, request_id: str | None) -> None:
        """Close the intents of an attempt that did nothing; the records stay as they are."""
        ledger = self._run.ledger
        for call in self._calls:
            closed = replace(call.intent, state=IntentState.FAILED)
            entry = ledger.entry(closed, label, request_id)
            ledger.store.close_ended_intent(closed, call.step.record, entry)

    def _names_refused(self, failure: RemoteError) -> frozenset[str]:
        """The refused fields if all are in their preferred form; empty if anything else was."""
        if failure.status_code != _BAD_REQUEST or failure.effect is not Effect.NONE:
            return frozenset()
        names = _refused_names(failure)
        return names if names <= self._preferred.keys() else frozenset()

    def _done(self, answer: ServerObject) -> tuple[Outcome, ...]:
        owner, backend = self._owner, self._run.backend
        try:
            echo = owner.check(backend.decode(self._step, answer))
        except RemoteError as failure:
            return self._failed(failure)
        outcome = owner.done(*echo)
        bootstrap = self._step.binding.bootstrap
        member_answer = bootstrap.extract_member(answer) if bootstrap else None
        return (outcome, *(self._member_done(call, member_answer) for call in self._calls[1:]))

    def _member_done(self, call: Call, answer: ServerObject | None) -> Outcome:
        """Record the member that a successful call has created with its owner."""
        step, backend = call.step, self._run.backend
        request_id = backend.request_id()
        observed = (
            backend.decode(step, answer)
            if answer is not None
            else backend.only(step, call.intent.natural_key)
        )
        if observed is None:
            found = messages.finding("member not shown", step.address)
            return step.outcome(Result.UNKNOWN, found, request_id=request_id)
        self._add_owner_id(call)
        try:
            echo = call.check(observed)
        except RemoteError as failure:
            return call.unknown(failure)
        return call.done(*echo)

    def _add_owner_id(self, call: Call) -> None:
        """Have the owner's id among a member's fields, now that there is one."""
        call.fields = declared_fields(call.step, self._run.backend)
        fields = with_macs(call.fields, call.step.salt, self._run.secrets)
        call.intent = replace(call.intent, fields=fields)

    def _failed(self, failure: RemoteError) -> tuple[Outcome, ...]:
        owner = self._owner
        if failure.effect is Effect.NONE:
            for call in self._calls[1:]:
                call.without_effect(failure)
            cause = owner.cause(failure)
            if not self._may_key_be_taken(failure):
                return (owner.without_effect(failure, cause),)
            if not self._step.change.replaces_package:
                return (self._key_taken(failure, cause),)
            cause = cause.with_changes(hint=_PACKAGE_IS_FINAL)
            return (owner.without_effect(failure, cause),)
        found = self._objects_as_sent()
        if len(found) < len(self._calls):
            return tuple(call.unknown(failure) for call in self._calls)
        outcomes = []
        for call, observed in zip(self._calls, found, strict=True):
            if call is not owner:
                self._add_owner_id(call)
            outcomes.append(call.recovered(observed, failure))
        return tuple(outcomes)

    def _objects_as_sent(self) -> list[Observed]:
        """The created objects, up to the first that is missing, differs or is another's."""
        run, found = self._run, list[Observed]()
        for call in self._calls:
            step = call.step
            observed = run.backend.only(step, call.intent.natural_key)
            if observed is None or not may_be_created(step, call.fields, observed, run.secrets):
                break
            if run.claims.other_owner(observed, step.address) is not None:
                break
            # While nobody answered, somebody else may have published this version.
            sent = replace(call.intent, remote_id=observed.remote_id)
            if sent.digest is not None and published_digest(observed) is None:
                read = run.read_published_digest(sent)
                if read not in {"", sent.digest}:
                    break
                call.is_untold = not read
            found.append(observed)
        return found

    def _may_key_be_taken(self, failure: RemoteError) -> bool:
        """Whether a refused create may have failed as its natural key is taken."""
        if failure.status_code == messages.CONFLICT:
            return True
        names = _refused_names(failure) & {*self._step.type.key_fields, ""}
        return failure.status_code in _INVALID_STATUSES and bool(names)

    def _key_taken(self, failure: RemoteError, cause: Diagnostic) -> Outcome:
        """The outcome of a refused create: done, adopted if allowed, or failed with a hint."""
        run, step, call = self._run, self._step, self._owner
        key, digest = call.intent.natural_key, call.intent.digest
        try:
            hits = run.backend.search(step, key)
        except RemoteError:
            return call.without_effect(failure, self._no_match(failure, cause, is_absent=False))
        if len(hits) != 1:
            # Where objects are visible, it is not certain that none has the key.
            is_absent = not hits and run.backend.proves_absence(step, key)
            return call.without_effect(failure, self._no_match(failure, cause, is_absent=is_absent))
        (observed,) = hits
        # Another run, or an earlier call of ours whose answer was lost, has published the package.
        if digest and published_digest(observed) == digest:
            warning = messages.finding("published already", step.address, cause=cause)
            return call.done(observed, failure.request_id, (warning,))
        if owner := run.claims.other_owner(observed, step.address):
            return call.without_effect(
                failure,
                messages.conflict(
                    "exists elsewhere", step, cause, id=observed.remote_id, owner=owner
                ),
            )
        differing = [
            path
            for path in unlike_sent(step, call.fields, observed, run.secrets)
            # Adopting an object need not look at what is never compared.
            if not step.type.require_rule_of_field(path).packaged
            and not (
                is_not_shown(step, path, observed)
                and step.type.is_unchangeable_field(step.binding, path[0])
            )
        ]
        package = step.package
        needs_more = (
            (package is not None and shows_other_package(observed, package.digest))
            or step.companion
            or step.has_final_call
            or step.change.verification
        )
        if run.gate.may_adopt and not differing and not needs_more:
            return self._adopt(failure, observed)
        paths = ", ".join(map(format_field_path, differing))
        return call.without_effect(
            failure,
            messages.conflict(
                "exists",
                step,
                cause,
                id=observed.remote_id,
                comparison=f"Not shown as declared: {paths}." if paths else "It is as declared.",
                plan=Command("plan"),
                adopt=Command("apply --adopt"),
            ),
        )

    def _no_match(self, failure: RemoteError, cause: Diagnostic, *, is_absent: bool) -> Diagnostic:
        """The finding where the look-up gave no single object; a 400 may have other reasons.

        `is_absent`: this token certainly sees none.
        """
        step, form = self._step, self._owner.intent.natural_key.partition("=")[0]
        if failure.status_code == messages.CONFLICT:
            rule = "exists unseen" if is_absent else "exists unfound"
            return messages.conflict(rule, step, cause)
        if is_absent and form in step.type.global_keys and form in _refused_names(failure):
            return messages.conflict("may be taken", step, cause, key=form, kind=step.type.prefix)
        return cause

    # With `--adopt` an object is taken over that shows every field as it was sent.
    def _adopt(self, failure: RemoteError, observed: Observed) -> Outcome:
        run, call = self._run, self._owner
        run.backend.known[self._step.address] = observed
        change = replace(self._step.change, action=Action.ADOPT, fields=())
        step = replace(
            self._step, change=change, observed=observed, natural_key=call.intent.natural_key
        )
        record = record_where_agreed(step, adopted_record(step, observed, run), run)
        # The object is ours from here on: the approvals were used for that.
        closed = replace(
            call.intent, state=IntentState.FAILED, remote_id=observed.remote_id, approvals=()
        )
        bytes_note = " Its published bytes are unverified." if step.type.carries_package else ""
        warning = messages.finding(
            "adopted",
            step.address,
            id=observed.remote_id,
            bytes=bytes_note,
            request_id=failure.request_id,
        )
        outcome = step.outcome(
            Result.DONE, warning, remote_id=observed.remote_id, request_id=failure.request_id
        )
        return call.close(closed, record, "adopted", outcome)


def _refused_names(failure: RemoteError) -> frozenset[str]:
    """The top-level fields that a refusal names; "" for the whole request."""
    return frozenset(str(path[0]) if path else "" for path in parse_field_errors(failure.detail))
