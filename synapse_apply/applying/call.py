"""How a step's calls are made: each announced, sent, checked, and recorded, or told unknown.

Every call that changes something has an intent that is stored before it is sent and closed right
after. A call of unknown effect is looked up, never repeated blindly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from os.path import commonprefix
from typing import Any, NamedTuple
from uuid import uuid4

from synapse_apply.applying import lookup, messages, records
from synapse_apply.applying.body import (
    create_bodies,
    declared_fields,
    package_to_upload,
    update_body,
    with_macs,
)
from synapse_apply.applying.run import NotStarted, Run
from synapse_apply.applying.settle import IntentResolver
from synapse_apply.applying.step import CREATES, Step
from synapse_apply.kinds.compare import is_same_value
from synapse_apply.model.command import Command
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, Severity
from synapse_apply.model.errors import Effect, NotFound, RemoteError, StateError, SynapseApplyError
from synapse_apply.model.frozen import replace
from synapse_apply.model.json_types import RequestBody, ServerObject
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.plan import Action
from synapse_apply.model.remote import parse_field_errors
from synapse_apply.model.report import Outcome, Result
from synapse_apply.model.resource import Observed
from synapse_apply.model.secrets.secret_marks import unmask_value
from synapse_apply.model.state import CREATE_VERB, REPLACE_VERB, Intent, IntentState, Record
from synapse_apply.model.values import ABSENT, Fields, Mac, SecretRef, flatten, get_at_or_absent

_BAD_REQUEST = 400
_INVALID_STATUSES = frozenset({_BAD_REQUEST, 422})
_PACKAGE_IS_FINAL = (
    "This backend never replaces the package of a published version: raise the version."
)


class Echo(NamedTuple):
    """The object that a successful call left, as the server shows it, and warnings about it."""

    observed: Observed
    request_id: str
    warnings: tuple[Diagnostic, ...]


class Call:
    """A call that changes one object, from its intent to its outcome.

    `fields` are those that become ours by it; secrets are SecretRefs. The step is as it is recorded
    once the call is done. `is_untold`: nothing tells whether what was found has the sent package.
    `is_found`: nobody saw an answer, and the object was found as it was sent. `put_back` are fields
    that were changed outside, with whose they were before.
    """

    def __init__(
        self,
        run: Run,
        step: Step,
        verb: str,
        fields: Fields,
        *,
        sent: Fields | None = None,
        before: Fields | None = None,
        beside: Fields | None = None,
        uses_approvals: bool = True,
    ) -> None:
        """Announces nothing yet. `sent` are the fields of the intent, where these are others.

        `before` are the live values of what an update changes, `beside` digests of others that its
        body has.
        """
        self.run, self.step, self.fields = run, step, fields
        self.is_untold = self.is_found = False
        self.put_back: Mapping[FieldPath, str] = {}
        series, version = step.series
        package = step.package if verb == CREATE_VERB or step.change.replaces_package else None
        approvals = run.gate.approvals.get(step.address, ()) if uses_approvals else ()
        self.intent = Intent(
            id=str(uuid4()),
            plan_id=run.ledger.plan_id,
            address=step.address,
            verb=verb,
            api=step.binding.api,
            natural_key=run.backend.key(step),
            remote_id=step.record.remote_id if step.record and verb != CREATE_VERB else "",
            fields=with_macs(fields if sent is None else sent, step.salt, run.secrets),
            salt=step.salt,
            digest=package.digest if package else None,
            files=package.files if package else {},
            depends_on=step.change.depends_on,
            series=series,
            version=version,
            protected=step.protected,
            deadline=run.backend.longest_call(package.size if package else 0),
            # An adoption has begun with its record.
            approvals=() if step.change.action is Action.ADOPT else approvals,
            before=before or {},
            beside=beside or {},
        )

    def send(self, send: Callable[[], ServerObject], retry_from: Observed | None = None) -> Outcome:
        """Announce the call, send it, and record its outcome.

        With `retry_from`, what an update was made from, it is sent once more where nobody saw the
        answer and the object is still so: a PUT is idempotent.
        """
        run, first_failure = self.run, None
        announced_at = run.seconds()
        (self.intent,) = run.announce(self.intent)
        while True:
            try:
                echo = self.check(run.backend.decode(self.step, send()))
            except RemoteError as failure:
                if first_failure is None and failure.effect is Effect.NONE:
                    return self.without_effect(failure)
                if first_failure is not None and run.gate.why_unsent(failure):
                    # The first one was sent, and may still be acted on.
                    return self.unknown(first_failure)
                outcome = self._look_for_effect(failure, retry_from)
                if outcome is None and self._may_send_again(announced_at):
                    first_failure, retry_from = failure, None
                    continue
                outcome = outcome or self.unknown(failure)
            else:
                outcome = self.done(*echo)
            if first_failure is None:
                return outcome
            resent = messages.resent(self.step, first_failure)
            return replace(outcome, diagnostics=(*outcome.diagnostics, resent))

    def _look_for_effect(self, failure: RemoteError, retry_from: Observed | None) -> Outcome | None:
        """The outcome of an update whose answer was lost; None where it is to be sent again."""
        observed = None
        with suppress(RemoteError):
            observed = self.run.backend.find(self.step, self.intent.remote_id)
        if observed is not None:
            if lookup.shows_update(self.step, self.fields, observed, self.run.secrets):
                return self.recovered(observed, failure)
            # It was not done, and nobody else has changed what the same body would overwrite.
            if retry_from is not None and observed.spec == retry_from.spec:
                return None
        return self.unknown(failure)

    def _may_send_again(self, announced_at: float) -> bool:
        """Record that the first try may still act, whatever becomes of a second; False: no time.

        The age of both is counted from the one intent.
        """
        run, record = self.run, self.step.record
        if run.gate.stop_reason() or record is None:
            return False
        if run.seconds() - announced_at > run.ledger.store.seconds_to_start:
            return False
        unknown = replace(self.intent, state=IntentState.UNKNOWN)
        record = record.with_given_up(unknown, run.settle_after)
        try:
            run.ledger.store.write_records(record)
        except StateError:  # nothing is sent any more
            return False
        self.step = replace(self.step, record=record)
        return run.seconds() - announced_at <= run.ledger.store.seconds_to_start

    # An answer is not believed to be ours: a create must show its natural key and identity fields
    # (case, blanks and hyphens are the server's). Otherwise the object is read by the id that was
    # answered, then looked up by its key.
    def check(self, observed: Observed) -> Echo:
        """The object that a successful call left, by its answer or, if that is short, by a read.

        Raises RemoteError of unknown effect where the answer is another object than that of the
        call; else the object is claimed.
        """
        run, step, fields = self.run, self.step, self.fields
        warnings: tuple[Diagnostic, ...] = ()
        request_id = run.backend.request_id()  # reading back has a request id of its own
        unlike = self._names_unlike_sent(observed)
        if unlike or any(get_at_or_absent(observed.spec, path[:1]) is ABSENT for path in fields):
            try:
                observed = run.backend.read(step, self.intent.remote_id or observed.remote_id)
            except RemoteError as failure:
                hidden = ", ".join(
                    name
                    for name in self._identifying_names()
                    if (name,) in fields
                    and not lookup.shows_value(get_at_or_absent(observed.spec, (name,)))
                )
                if hidden and not unlike:
                    message = (
                        f"the answer does not show {hidden}, and reading it back failed: {failure}"
                    )
                    raise RemoteError(
                        message, request_id=request_id, effect=Effect.UNKNOWN
                    ) from None
                # The write is certain, and only the read failed: what is known is recorded.
                warnings = (
                    messages.finding(
                        "not read back",
                        step.address,
                        failure=failure,
                        request_id=failure.request_id,
                    ),
                )
                # A short answer says nothing of a field that it lacks.
                observed = replace(observed, missing_fields=frozenset())
                self._claim(observed, request_id)
                return Echo(observed, request_id, warnings)
            if unlike:
                warnings = (
                    messages.finding(
                        "another shown", step.address, names=unlike, request_id=request_id
                    ),
                )
        self._claim(observed, request_id)
        return Echo(observed, request_id, (*warnings, *self._warn_of_fields(observed)))

    def _claim(self, observed: Observed, request_id: str) -> None:
        """Raise RemoteError where the answered object is not the call's or is another address's."""
        intent, answered, message = self.intent, observed.remote_id, ""
        if unlike := self._names_unlike_sent(observed):
            message = f"the answer shows another object (id {answered}): its {unlike} differs"
        elif intent.remote_id and answered != intent.remote_id:
            message = f"the answer shows id {answered} instead of {intent.remote_id}"
        elif self.step.change.replaces_package and lookup.shows_other_package(
            observed, intent.digest
        ):
            message = f"the answer shows id {answered} with a package that was not sent"
        # Last, because it claims: an object that is refused above must stay free for its own
        # address.
        elif owner := self.run.claims.other_owner(observed, self.step.address):
            message = f"the answer shows id {answered}, which the state records as {owner}"
        if message:
            raise RemoteError(message, request_id=request_id or None, effect=Effect.UNKNOWN)

    def _identifying_names(self) -> tuple[str, ...]:
        """The fields by which an answer shows which object it is about.

        For an update these are the fields that never change; for a create also those of its natural
        key.
        """
        kind = self.step.type
        if self.intent.verb != CREATE_VERB:
            return kind.identity_fields
        form = self.intent.natural_key.partition("=")[0]
        return tuple(dict.fromkeys((*kind.identity_fields, *kind.confirming_fields, form)))

    def _names_unlike_sent(self, observed: Observed) -> str:
        """The identifying fields that an object shows with another value than was sent."""
        names = []
        for name in self._identifying_names():
            sent = self.fields.get((name,), ABSENT)
            live = get_at_or_absent(observed.spec, (name,))
            if sent is ABSENT or isinstance(sent, SecretRef) or not lookup.shows_value(live):
                continue
            if type(live) is not str:
                live = unmask_value(live)
            if not lookup.equals_up_to_rewriting(sent, live):
                names.append(name)
        return ", ".join(names)

    def _warn_of_fields(self, observed: Observed) -> Iterator[Diagnostic]:
        """Warnings for fields whose answer differs from what was sent, or that the backend lacks.

        Each is told once: not where the same value got the same answer before.
        """
        step, address, kind = self.step, self.step.address, self.step.type
        for path in (change.path for change in step.plain_fields):
            if path not in self.fields and records.is_still_set(step, observed, path):
                yield messages.finding(
                    "dropped and kept", address, path=path, field=format_field_path(path)
                )

        def not_kept(rule: str, name: str) -> Diagnostic:
            return messages.finding(
                rule, address, path=(name,), field=name, kind=kind.prefix, of_backend=True
            )

        known_unkept = {*step.unkept, *(step.record.unkept if step.record is not None else ())}
        for name in records.names_lacking(kind, self.fields, observed):
            if name not in known_unkept:
                yield not_kept("unkept", name)
        packaged_names: set[str] = set()
        for path, value in self.fields.items():
            rule = kind.require_rule_of_field(path)
            if (
                path[0] in observed.missing_fields
                or isinstance(value, SecretRef | Mac)
                or rule.write_only
                or rule.references
            ):
                continue
            answered = get_at_or_absent(observed.spec, path)
            if records.is_as_sent(rule, value, answered) or _had_same_answer(
                step.record, path, value, answered
            ):
                continue
            # The platform takes such fields from the package; one warning per field is enough.
            if rule.packaged:
                packaged_names.add(str(path[0]))
                continue
            sent_text, answered_text = _differences(value, answered)
            yield messages.finding(
                "not taken",
                address,
                path=path,
                field=format_field_path(path),
                sent=sent_text,
                answered=answered_text,
            )
        for name in sorted(packaged_names):
            yield not_kept("of the package", name)

    def done(
        self,
        observed: Observed,
        request_id: str | None,
        warnings: tuple[Diagnostic, ...],
        *,
        may_act: bool = False,
    ) -> Outcome:
        """Record a call that was done, with the object that it left.

        One that `may_act` again is kept in the record. The outcome is UNKNOWN, with a recovery
        file, where the state cannot be written.
        """
        run, step = self.run, self.step
        run.backend.known[step.address] = observed
        applied = self.intent.fields
        if not applied.keys() >= self.fields.keys():
            # Also what a PATCH left out, as it was so already.
            applied = {**with_macs(self.fields, step.salt, run.secrets), **applied}
        record, self.put_back = records.record_after_call(
            step, self.intent, observed, run, self.fields, applied, is_found=self.is_found
        )
        closed = replace(self.intent, state=IntentState.DONE, remote_id=observed.remote_id)
        if self.is_untold:
            record = replace(record, doubted=self.intent.digest or "")
        if may_act:
            record = record.with_given_up(closed, run.settle_after)
        outcome = step.outcome(
            Result.DONE, *warnings, remote_id=observed.remote_id, request_id=request_id
        )
        return self.close(closed, record, "done", outcome)

    def recovered(self, observed: Observed, failure: RemoteError) -> Outcome:
        """`done` after a lost or useless answer: the object was found as it was sent."""
        seal = self.step.binding.final_call
        # After a final call nothing changes any more.
        may_act = seal is None or self.intent.verb != seal.verb
        if self.intent.verb == CREATE_VERB:  # the upload of a debug release replaces its package
            may_act = self.intent.digest is not None and self.step.type.acts_again(self.intent)
        self.is_found = True
        cause = self.cause(failure)
        what = "A useless" if cause.summary == messages.USELESS_ANSWER else "A lost"
        rule = "recovered: untold" if self.is_untold else "recovered"
        warning = messages.finding(rule, self.step.address, cause=cause, what=what)
        warnings = (warning, *self._warn_of_fields(observed))
        return self.done(observed, failure.request_id, warnings, may_act=may_act)

    def without_effect(self, failure: RemoteError, cause: Diagnostic | None = None) -> Outcome:
        """Close the intent of a call that certainly had no effect; the record stays as it is.

        The outcome is FAILED because of `cause`, or SKIPPED for a call that was not let out.
        """
        result, label = Result.FAILED, "failed"
        if reason := self.run.gate.why_unsent(failure):
            result, label = Result.SKIPPED, "not sent"
            cause = messages.skipped(self.step, reason)
        outcome = self.step.outcome(
            result, cause or self.cause(failure), request_id=failure.request_id
        )
        outcome = replace(outcome, is_conflict=failure.status_code == messages.CONFLICT)
        failed = replace(self.intent, state=IntentState.FAILED)
        return self.close(failed, self.step.record, label, outcome)

    def unknown(self, failure: RemoteError, cause: Diagnostic | None = None) -> Outcome:
        """The outcome of a call of unknown effect; its intent stays open for the next run."""
        return messages.unknown_outcome(
            "unknown",
            self.step,
            self.run.backend,
            cause or self.cause(failure),
            failure.request_id or "",
        )

    def cause(self, failure: RemoteError) -> Diagnostic:
        """The finding for the failure of this call."""
        # A lock, or the replacement of a package.
        verb = self.intent.verb if self.step.change.action is Action.UPDATE else ""
        return messages.failed(self.step, failure, self.run.backend.marks_of(self.step), verb)

    def close(
        self,
        closed: Intent,
        record: Record | None,
        label: str,
        outcome: Outcome,
        request_id: str | None = None,
    ) -> Outcome:
        """Record an outcome, and return it; UNKNOWN where a done call could not be recorded."""
        ledger = self.run.ledger
        entry = ledger.entry(closed, label, request_id or outcome.request_id)
        entry = replace(entry, put_back=self.put_back)
        # The answer is there: recording it waits for the disk, and must not keep others from
        # calling.
        self.run.gate.slot.release_slot()
        unrecorded = ledger.close(closed, record, entry)
        if unrecorded is None:
            return outcome
        return replace(
            outcome,
            result=Result.UNKNOWN if outcome.result is Result.DONE else outcome.result,
            recovery_file=unrecorded.recovery_file,
            diagnostics=(*outcome.diagnostics, unrecorded.finding),
        )


def _had_same_answer(record: Record | None, path: FieldPath, sent: Any, answered: Any) -> bool:
    """Whether the same value got the same answer before, which was reported then."""
    if record is None or not is_same_value(record.applied.get(path, ABSENT), sent):
        return False
    fields = flatten(answered, prefix=path) if isinstance(answered, Mapping) else {}
    return all(
        is_same_value(record.seen.get(name, ABSENT), value)
        for name, value in (fields or {path: answered}).items()
    )


def _differences(*values: Any, max_length: int = 60) -> Iterator[str]:
    """The values as text; of long ones what is around the first difference."""
    texts = ["nothing" if v is ABSENT else v if isinstance(v, str) else repr(v) for v in values]
    is_long = max(map(len, texts)) > max_length
    common_length = len(commonprefix(texts))  # noqa: RUF071 - no paths
    start = max(0, common_length - max_length // 3) if is_long else 0
    for value, text in zip(values, texts, strict=True):
        end = "..." if len(text) > start + max_length else ""
        short_text = f"{'...' * (start > 0)}{text[start : start + max_length]}{end}"
        yield repr(short_text) if isinstance(value, str) else short_text


# A create makes one object, or an owner and its companion of another kind. The intents of both are
# stored before the call, and each is closed and recorded on its own, so that after an interruption
# each object is looked up by its own key; a package that replaces another is told by its digest.
#
# A field may have two forms: the preferred one is that of the platform's service, the plain one
# that of the API page. A server that refuses only fields in their preferred form has done nothing,
# so the same create is sent again with the plain ones.
#
# Servers say that a natural key is taken with 409, or with 400 and words on the fields of the key.
# The words decide nothing: the object is looked up, and the create is never sent again. An object
# whose digest is that of our package is what was wanted. Any other object that is as declared is
# adopted if that was allowed; it is ours then, and its package counts as unverified. One that
# differs, or would be run or locked as if it were ours, is left for a plan that shows it.
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
                    answer = self._step.binding.create_object(
                        self._run.backend.api, body, self._owner.intent.id
                    )
                except SynapseApplyError:
                    # The package changed while it was read: the body ended early, so nothing was
                    # created.
                    self._close_attempt("failed", None)
                    raise
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
        outcomes = [owner.recovered(found[0], failure)]
        for call, observed in zip(self._calls[1:], found[1:], strict=True):
            self._add_owner_id(call)
            outcomes.append(call.recovered(observed, failure))
        return tuple(outcomes)

    def _objects_as_sent(self) -> list[Observed]:
        """The created objects, up to the first that is missing, differs or is another's."""
        run, found = self._run, list[Observed]()
        for call in self._calls:
            step = call.step
            observed = run.backend.only(step, call.intent.natural_key)
            if observed is None or not lookup.may_be_created(
                step, call.fields, observed, run.secrets
            ):
                break
            if run.claims.other_owner(observed, step.address) is not None:
                break
            if observed.describe_other_owner(run.backend.owners):
                break
            # While nobody answered, somebody else may have published this version.
            sent = replace(call.intent, remote_id=observed.remote_id)
            if sent.digest is not None and lookup.published_digest(observed) is None:
                read = run.read_published_digest(sent)
                if read and read != sent.digest:
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
        hits, is_absent = list[Observed](), False
        with suppress(RemoteError):
            hits = run.backend.search(step, key)
            # Where objects are visible, it is not certain that none has the key.
            is_absent = not hits and run.backend.proves_absence(step, key)
        if len(hits) != 1:
            return call.without_effect(failure, self._no_match(failure, cause, is_absent=is_absent))
        (observed,) = hits
        if marked := observed.describe_other_owner(run.backend.owners):
            found = messages.conflict(
                "other owner",
                step,
                cause,
                id=observed.remote_id,
                marked=marked,
                plan=Command("plan"),
            )
            return call.without_effect(failure, found)
        # Another run, or an earlier call of ours whose answer was lost, has published the package.
        if digest and lookup.published_digest(observed) == digest:
            call.is_found = True
            warning = messages.finding("published already", step.address, cause=cause)
            return call.done(observed, failure.request_id, (warning,))
        if owner := run.claims.other_owner(observed, step.address):
            elsewhere = messages.conflict(
                "exists elsewhere", step, cause, id=observed.remote_id, owner=owner
            )
            return call.without_effect(failure, elsewhere)
        differing = [
            path
            for path in lookup.unlike_sent(step, call.fields, observed, run.secrets)
            # Adopting an object need not look at what is never compared.
            if not step.type.require_rule_of_field(path).packaged
            and not (
                lookup.is_not_shown(step, path, observed)
                and step.type.is_unchangeable_field(step.binding, path[0])
            )
        ]
        package = step.package
        needs_more = (
            (package is not None and lookup.shows_other_package(observed, package.digest))
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
                comparison=f"Fields that differ from the manifest: {paths}."
                if paths
                else "It matches the manifest.",
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
        record = records.record_where_agreed(step, records.adopted_record(step, observed, run), run)
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


def carry_out(run: Run, step: Step) -> tuple[Outcome, ...]:
    """Carry out one step and its companion; errors become outcomes, one for each object."""
    is_create = step.change.action in CREATES or step.change.replaces_package
    if not is_create:  # which may write its intent before it has its slot
        run.gate.take_slot(step.address)
    return _outcomes_of(
        run, step, lambda: Create(run, step).send() if is_create else (_change(run, step),)
    )


def carry_out_final_call(run: Run, step: Step) -> Outcome:
    """Make the step's final call, which cannot be undone, such as locking a release."""
    rest = step.plain_fields
    fields = tuple(change for change in step.change.fields if change not in rest)
    change = replace(step.change, action=Action.UPDATE, fields=fields)
    last = replace(step, change=change, companion=None)
    # Where an object was made, adopted or updated before, that has used the approvals up.
    is_only_call = step.change.action is Action.UPDATE and not rest
    (outcome,) = _outcomes_of(run, last, lambda: (_seal(run, last, uses_approvals=is_only_call),))
    return outcome


def _outcomes_of(
    run: Run, step: Step, work: Callable[[], tuple[Outcome, ...]]
) -> tuple[Outcome, ...]:
    """Run some work, report its progress, and return its outcomes with their duration."""
    started_at, began_at = run.seconds(), run.ledger.clock.utc_now()
    for created in step.all_created:
        run.progress.report_start(created.address, created.change.action.value)
    outcomes: tuple[Outcome, ...] = ()
    not_started: NotStarted | None = None
    try:
        outcomes = work()
    except SynapseApplyError as failure:
        outcomes = (step.outcome(Result.FAILED, *failure.diagnostics),)
    except RemoteError as failure:
        cause = messages.failed(step, failure, run.backend.marks_of(step))
        outcomes = (step.outcome(Result.FAILED, cause),)
    except NotStarted as stop:
        not_started = stop
    seconds = run.seconds() - started_at
    outcomes = tuple(replace(one, began_at=began_at, seconds=seconds) for one in outcomes)
    by_address = {outcome.address: outcome for outcome in outcomes}
    for created in step.all_created:
        outcome = by_address.get(created.address) or created.outcome(Result.SKIPPED)
        verb, result = created.change.action.value, outcome.progress_result
        run.progress.report_end(created.address, verb, result, seconds, outcome.remote_id)
    if not_started is not None:
        raise not_started
    return outcomes


def _change(run: Run, step: Step) -> Outcome:
    """Do one change that creates nothing; ValueError for one that a plan never has."""
    action, record, store = step.change.action, step.record, run.ledger.store
    approvals = run.gate.approvals.get(step.address, ())
    if action is Action.DELETE:
        return _delete(run, step)
    if action is Action.FORGET:
        run.gate.require_permit()
        now, uptime = run.ledger.clock.utc_now(), run.ledger.uptime()
        for call in record.given_up if record else ():
            left = call.seconds_left(run.settle_after, now, uptime)
            if call.state is IntentState.ABSENT and left > 0:
                store.keep_forgotten_call(call)
        store.remove_records(step.address, uses_up=approvals)
        _audit_without_call(run, step)
        return step.outcome(Result.DONE)
    if action is Action.ADOPT:
        if step.observed is None:
            raise ValueError(f"The plan adopts {step.address}, but the object was not read")
        record = records.adopted_record(step, step.observed, run)
        run.gate.require_permit()
        store.write_records(record, uses_up=approvals)
        _audit_without_call(run, step)
    if fields := step.plain_fields:
        change = replace(step.change, fields=fields)
        return _update(run, replace(step, record=record, change=change))
    if record is None:
        return step.outcome(Result.DONE)
    store.write_records(records.record_where_agreed(step, record, run))
    return step.outcome(Result.DONE, remote_id=record.remote_id)


def _audit_without_call(run: Run, step: Step) -> None:
    """Add an audit entry for a change of the state alone."""
    ledger, remote_id = run.ledger, step.observed.remote_id if step.observed is not None else ""
    if not remote_id and step.record is not None:
        remote_id = step.record.remote_id
    entry = ledger.actor.build_state_audit_entry(
        step.address,
        step.change.action.value,
        moment=ledger.clock.utc_now(),
        plan_id=ledger.plan_id,
        remote_id=remote_id,
    )
    ledger.store.append_audit_entries(entry)


def _update(run: Run, step: Step) -> Outcome:
    update, record = step.binding.update_object, step.record
    if update is None or record is None:
        raise ValueError(f"{step.address} cannot be updated, although the plan updates it")
    # Read again, not taken from the plan: the PUT overwrites all that changed since.
    observed = run.backend.read(step, record.remote_id)
    body, fields, sent = update_body(step, observed.spec, run.backend, run.secrets.resolve_secret)
    before = records.fields_before(step, observed, sent, run.secrets)
    beside = records.digest_fields_beside(observed, body, before, step.salt, run.secrets)
    call = Call(run, step, "update", fields, sent=sent, before=before, beside=beside)
    return call.send(lambda: update(run.backend.api, record.remote_id, body), observed)


def _seal(run: Run, step: Step, *, uses_approvals: bool) -> Outcome:
    # The record as the earlier call of this step left it, not as it was planned.
    seal, record = step.binding.final_call, run.ledger.store.find_record(step.address)
    if seal is None or record is None:
        raise ValueError(f"{step.address} cannot be sealed, although the plan seals it")
    if record.is_package_untold:
        return step.outcome(
            Result.FAILED, messages.finding("untold package", step.address, verb=seal.verb)
        )
    path = (seal.name,)
    call = Call(
        run,
        replace(step, record=record),
        seal.verb,
        {**declared_fields(step, run.backend), path: True},
        sent={path: True},
        before={path: False},
        uses_approvals=uses_approvals,
    )
    outcome = call.send(lambda: seal.send_call(run.backend.api, record.remote_id))
    return replace(outcome, effect=seal.effect) if outcome.result is Result.DONE else outcome


def _delete(run: Run, step: Step) -> Outcome:
    delete, record = step.binding.delete_object, step.record
    if delete is None or record is None:
        raise ValueError(f"{step.address} cannot be deleted, although the plan deletes it")
    call = Call(run, step, "delete", {})
    (call.intent,) = run.announce(call.intent)
    try:
        delete(run.backend.api, record.remote_id)
    except NotFound:
        pass  # it is gone already, which is what was wanted
    except RemoteError as failure:
        if failure.effect is Effect.NONE:
            return call.without_effect(failure)
        # An unreadable object may still exist, so the delete stays open for the next run.
        is_gone = False
        with suppress(RemoteError):
            is_gone = run.backend.find(step, record.remote_id) is None
        if not is_gone:
            return call.unknown(failure)
    closed = replace(call.intent, state=IntentState.DONE)
    outcome = step.outcome(Result.DONE, remote_id=record.remote_id)
    return call.close(closed, None, "done", outcome, run.backend.request_id())


def can_look_again(run: Run, step: Step) -> bool:
    """Whether a look can show that a step's call was done: a create must be found by its key."""
    is_create = step.change.action in CREATES
    return not is_create or run.backend.proves_absence(step, run.backend.key(step))


# After a gateway timeout, or on a server that shows changes late: an object that is as it was sent
# is proof within the same run. Any other proves nothing until the intent is old enough, which is
# for the next run to decide.
def look_again(run: Run, step: Step, previous: Outcome) -> Outcome:
    """A DONE outcome, and the intent settled, if the object is as it was sent; else `previous`.

    SynapseApplyError where the state failed: the intent stays open for the next run.
    """
    ledger, store, backend = run.ledger, run.ledger.store, run.backend
    opened = store.read_state().open_intents
    mine = (step.address, ledger.plan_id)
    intent = next((one for one in opened if (one.address, one.plan_id) == mine), None)
    if intent is None:
        return previous
    is_create = intent.verb == CREATE_VERB
    observed, record = None, step.record if is_create else store.find_record(step.address)
    if is_create:
        observed = backend.only(step, intent.natural_key)
        if observed is None or not lookup.may_be_created(
            step, declared_fields(step, backend), observed, run.secrets
        ):
            return previous
    resolver = IntentResolver(
        backend.api,
        # Only this kind is needed, as only this intent is resolved.
        {step.address.kind: step.type},
        run.secrets,
        backend.marks_of(step),
        backend.capabilities,
        ledger.clock.utc_now(),
        run.settle_after,
        find_other_owner=run.claims.other_owner,
        owners=backend.owners,
        read_published_digest=run.read_published_digest,
    )
    resolved = resolver.resolve_intent(intent, record)
    # Of a package that nothing shows, the record says so: it is taken as right after the call.
    if is_create and resolved.record and resolved.record.doubted and intent.digest:
        resolved = replace(resolved, intent=replace(resolved.intent, state=IntentState.DONE))
    # Anything else proves nothing yet, as the call may still be carried out.
    made_id = resolved.record.remote_id if is_create and resolved.record else ""
    if not resolved.is_done or (resolved.reason and made_id != resolved.intent.remote_id):
        return previous
    if observed is not None:
        backend.known[step.address] = observed
    entry = ledger.entry(resolved.intent, f"settled: {resolved.intent.state.outcome}")
    store.close_ended_intent(resolved.intent, resolved.record, entry)
    warning = messages.finding(
        "looked up",
        step.address,
        verb=intent.verb,
        found="the object existed" if is_create else "its effect was visible",
        id=resolved.intent.remote_id,
        reason=resolved.reason and f" ({resolved.reason})",
        request_id=previous.request_id,
    )
    return replace(
        previous,
        result=Result.DONE,
        remote_id=resolved.intent.remote_id,
        # That an update was sent twice.
        diagnostics=(warning, *(d for d in previous.diagnostics if d.severity is Severity.WARNING)),
    )
