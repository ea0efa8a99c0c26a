"""What becomes of one announced call: its answer is checked, its outcome recorded, or told unknown.

Every call that changes something has an intent that is stored before it is sent and closed right
after. A call of unknown effect is looked up, never repeated blindly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from os.path import commonprefix
from typing import Any, NamedTuple
from uuid import uuid4

from synapse_apply.applying import messages
from synapse_apply.applying.body import with_macs
from synapse_apply.applying.lookup import (
    equals_up_to_rewriting,
    shows_other_package,
    shows_update,
    shows_value,
)
from synapse_apply.applying.records import (
    is_as_sent,
    is_still_set,
    names_lacking,
    record_after_call,
)
from synapse_apply.applying.run import Run
from synapse_apply.applying.step import Step
from synapse_apply.model.diagnostic import Diagnostic, FieldPath
from synapse_apply.model.errors import Effect, RemoteError, StateError
from synapse_apply.model.json_types import ServerObject
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.plan import Action
from synapse_apply.model.report import Outcome, Result
from synapse_apply.model.resource import Observed
from synapse_apply.model.secrets.secret_marks import unmask_value
from synapse_apply.model.state import CREATE_VERB, Intent, IntentState, Record
from synapse_apply.model.values import ABSENT, Fields, Mac, SecretRef, flatten, get_at_or_absent


class Echo(NamedTuple):
    """The object that a successful call left, as the server shows it, and warnings about it."""

    observed: Observed
    request_id: str
    warnings: tuple[Diagnostic, ...]


class Call:
    """A call that changes one object, from its intent to its outcome.

    `fields` are those that become ours by it; secrets are SecretRefs. The step is as it is recorded
    once the call is done. `is_untold`: nothing tells whether what was found has the sent package.
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
        self.run, self.step, self.fields, self.is_untold = run, step, fields, False
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
        try:
            observed = self.run.backend.find(self.step, self.intent.remote_id)
        except RemoteError:
            observed = None
        if observed is not None and shows_update(
            self.step, self.fields, observed, self.run.secrets
        ):
            return self.recovered(observed, failure)
        # It was not done, and nobody else has changed what the same body would overwrite.
        if observed is not None and retry_from is not None and observed.spec == retry_from.spec:
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
                    and not shows_value(get_at_or_absent(observed.spec, (name,)))
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
            message = f"another object was answered (id {answered}): its {unlike} differs"
        elif intent.remote_id and answered != intent.remote_id:
            message = f"id {answered} was answered, and {intent.remote_id} was meant"
        elif self.step.change.replaces_package and shows_other_package(observed, intent.digest):
            message = f"id {answered} was answered with another package than was sent"
        # Last, because it claims: an object that is refused above must stay free for its own
        # address.
        elif owner := self.run.claims.other_owner(observed, self.step.address):
            message = f"id {answered} was answered, which is recorded as {owner}"
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
            if sent is ABSENT or isinstance(sent, SecretRef) or not shows_value(live):
                continue
            if not equals_up_to_rewriting(sent, unmask_value(live)):
                names.append(name)
        return ", ".join(names)

    def _warn_of_fields(self, observed: Observed) -> Iterator[Diagnostic]:
        """Warnings for fields whose answer differs from what was sent, or that the backend lacks.

        Each is told once: not where the same value got the same answer before.
        """
        step, address, kind = self.step, self.step.address, self.step.type
        for path in (change.path for change in step.plain_fields):
            if path not in self.fields and is_still_set(step, observed, path):
                yield messages.finding(
                    "dropped and kept", address, path=path, field=format_field_path(path)
                )

        def not_kept(rule: str, name: str) -> Diagnostic:
            return messages.finding(
                rule, address, path=(name,), field=name, kind=kind.prefix, of_backend=True
            )

        known_unkept = {*step.unkept, *(step.record.unkept if step.record is not None else ())}
        for name in names_lacking(kind, self.fields, observed):
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
            if is_as_sent(rule, value, answered) or _had_same_answer(
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
        # Also what a PATCH left out, as it was so already.
        applied = {**with_macs(self.fields, step.salt, run.secrets), **self.intent.fields}
        record = record_after_call(step, self.intent, observed, run, self.fields, applied)
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
    if record is None or record.applied.get(path, ABSENT) != sent:
        return False
    if isinstance(answered, Mapping) and answered:
        fields = flatten(answered, prefix=path)
        return all(record.seen.get(path, ABSENT) == value for path, value in fields.items())
    return bool(record.seen.get(path, ABSENT) == answered)


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
