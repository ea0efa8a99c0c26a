"""Which calls of a plan are sent as dry runs, in which order, and when trying stops.

A server that does not know dry runs acts on them. So the first one is a request that changes
nothing in any case, and whose answer must say that it was a dry run; without that none is tried.
A later answer that does not say so is a finding, and whether its call was carried out is looked up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from enum import IntEnum

from synapse_apply.applying import messages
from synapse_apply.applying.body import (
    create_bodies,
    package_to_upload,
    secrets_to_send,
    update_body,
)
from synapse_apply.applying.lookup import shows_update
from synapse_apply.applying.run import Run
from synapse_apply.applying.step import CREATES, Step
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text, lowercase_and_strip_full_stop
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import (
    Effect,
    NotFound,
    RemoteError,
    RemoteTimeout,
    SecretUnavailable,
    SynapseApplyError,
    Unconfirmed,
    advise_on_failure,
)
from synapse_apply.model.frozen import frozen, mutable
from synapse_apply.model.phrases import format_count_and_noun, format_short_list
from synapse_apply.model.plan import Action, Refusal
from synapse_apply.model.remote import DryRunCounts
from synapse_apply.model.values import collect_references, get_at_or_absent

RULE = "server"
# The verb in reports of progress.
VERB = "try"
_UNPROVEN = "the backend has not shown that it knows dry runs"
_AFTER_DOUBT = "nothing was tried after an answer that did not say it was a dry run"
# Without those that are about the moment or the connection, not about the call.
_REFUSAL_STATUSES = frozenset(range(400, 500)) - {408, 429}


class _Verb(IntEnum):
    """What a call does, in the order of the harm where the server carries it out."""

    UPDATE = 1
    CREATE = 2
    # From here on it could not be undone.
    DELETE = 3
    SEAL = 4
    RUN = 5


@mutable
class _Call:
    """One call of a step that may be tried by a dry run, and what became of that.

    It went well, unless it was refused, not tried (`reason`), or is in doubt.
    """

    step: Step
    verb: _Verb
    run: Run
    refusal: Refusal | None = None
    reason: str = ""
    doubt: Diagnostic | None = None

    @property
    def name(self) -> str:
        """The verb in messages; that of a final call has a name of its own."""
        seal = self.step.binding.final_call
        return seal.verb if seal is not None and self.verb is _Verb.SEAL else self.verb.name.lower()

    def __str__(self) -> str:
        return f"{self.name} of {self.step.address}"

    def why_untriable(self) -> str:
        """Why this call cannot be tried; "" where it can."""
        step = self.step
        if self.verb is _Verb.RUN:
            return "a run cannot be tried"
        if step.binding.send_dry_run_probe is None:
            return f"API {step.binding.api} has no dry run"
        # A final call needs the id of an object, which a dry run of its create does not give.
        if self.verb is _Verb.SEAL and step.change.action in CREATES:
            return "it does not exist yet"
        if self.verb in {_Verb.CREATE, _Verb.UPDATE}:
            named = {one.address for one in collect_references(step.spec)}
            if missing := sorted(named - self.run.backend.known.keys()):
                return f"it needs {missing[0]}, which does not exist yet"
        for created in step.all_created:
            for _path, ref in secrets_to_send(created):
                try:
                    self.run.secrets.resolve_secret(ref)
                except SecretUnavailable as problem:
                    return problem.diagnostics[0].detail.rstrip(".")
        return ""

    def send(self) -> None:
        """Send the call as a dry run; raises RemoteError.

        ValueError for a call that the kind does not have.
        """
        step, remote_id = self.step, self.step.change.remote_id
        binding, resolve = step.binding, self.run.secrets.resolve_secret
        api, backend = self.run.backend.api.dry_run, self.run.backend
        if self.verb is _Verb.CREATE:
            body, address = create_bodies(step, backend, resolve)[0].body, package_to_upload(step)
            packages = self.run.packages
            with packages.open_package(address) if address else nullcontext() as package:
                file = {"file": package} if address else {}
                binding.create_object(api, {**body, **file}, "")
        elif self.verb is _Verb.UPDATE and binding.update_object and step.observed is not None:
            body, _, _ = update_body(step, step.observed.spec, backend, resolve)
            binding.update_object(api, remote_id, body)
        elif self.verb is _Verb.DELETE and binding.delete_object:
            try:
                binding.delete_object(api, remote_id)
            except NotFound:
                return  # it is gone already, which is what was wanted
            # A delete has no body, so its answer cannot say that it was a dry run.
            if self.has_acted():
                message = "the answer says nothing, and the object is gone"
                raise Unconfirmed(message, effect=Effect.UNKNOWN)
        elif self.verb is _Verb.SEAL and binding.final_call is not None:
            binding.final_call.send_call(api, remote_id)
        else:
            raise ValueError(f"{self} cannot be sent, although the plan contains it")

    def has_acted(self) -> bool | None:
        """Whether the call was carried out, by a look; None where that cannot be told."""
        step, backend, secrets = self.step, self.run.backend, self.run.secrets
        try:
            if self.verb is _Verb.CREATE:
                key = backend.key(step)
                found = bool(backend.search(step, key))
                return found if found or backend.proves_absence(step, key) else None
            observed = backend.find(step, step.change.remote_id)
        except RemoteError:
            return None
        if self.verb is _Verb.DELETE:
            return observed is None
        if observed is None:
            return None
        if self.verb is _Verb.UPDATE and step.observed is not None:
            _, fields, _ = update_body(step, step.observed.spec, backend, secrets.resolve_secret)
            return shows_update(step, fields, observed, secrets)
        seal = step.binding.final_call
        return None if seal is None else get_at_or_absent(observed.spec, (seal.name,)) is True

    def try_it(self) -> None:
        """Send the call as a dry run, and report progress; errors become its result."""
        address, run = self.step.address, self.run
        started_at = run.seconds()
        run.progress.report_start(address, VERB)
        result = "failed"
        try:
            self.send()
            result = "done"
        except SynapseApplyError as failure:
            self.reason = failure.diagnostics[0].detail.rstrip(".")
        # A server that makes dry runs has changed nothing, even if its answer is lost.
        except Unconfirmed as failure:
            rules = {True: "dry run acted on", False: "dry run not done", None: "dry run in doubt"}
            self.doubt = messages.finding(
                rules[self.has_acted()],
                address,
                call=self,
                reason="the answer does not say that it was a dry run",
                request_id=failure.request_id,
            )
        except RemoteError as failure:
            if failure.status_code in _REFUSAL_STATUSES:
                self.refusal, result = self._refusal(failure), "refused"
            else:
                self.reason = self._reason(failure)
        run.progress.report_end(address, VERB, result, run.seconds() - started_at)

    def _answer(self, failure: RemoteError, call: str = "") -> str:
        marks = self.run.backend.marks_of(self.step)
        return messages.answer(self.step, failure, marks, call)

    def _reason(self, failure: RemoteError) -> str:
        if failure.status_code:
            return self._answer(failure).rstrip(".")
        if isinstance(failure, RemoteTimeout):
            return "no answer came in time"
        return "no answer came" if failure.effect is Effect.UNKNOWN else f"{failure}".rstrip(".")

    def _refusal(self, failure: RemoteError) -> Refusal:
        step, is_sealing = self.step, self.verb is _Verb.SEAL
        message = self._answer(failure, f" to a dry run{f' of its {self.name}' * is_sealing}")
        if failure.request_id:
            message += f" (request id {failure.request_id})"
        if failure.status_code == messages.CONFLICT and self.verb is _Verb.CREATE:
            new_identity = "a new version" if step.type.series_field else "another name or code"
            ways_out: tuple[str, ...] = (
                f"declare the resource under {new_identity}",
                Text("if it exists and you know its id: ", Command("import", step.address, "ID")),
            )
        else:
            hint = advise_on_failure(
                failure, "plan again", "Correct what the backend's answer reports, then plan again."
            )
            ways_out = (lowercase_and_strip_full_stop(hint),)
        position = step.desired.position if step.desired else None
        return Refusal(RULE, message, ways_out, position)


@frozen
class DryRunResult:
    """What the backend said to all dry runs: refusals by address, how many, and findings."""

    refusals: Mapping[Address, Refusal]
    counts: DryRunCounts
    findings: tuple[Diagnostic, ...]


RunEach = Callable[[Callable[[_Call], None], Sequence[_Call]], Iterable[None]]


def dry_run_steps(steps: Sequence[Step], run: Run, run_each: RunEach) -> DryRunResult:
    """Try the calls of these steps as dry runs; nothing is sent but reads and dry runs.

    `run_each` runs a function for several calls, possibly in parallel. No call is tried on a server
    that has not shown that it makes dry runs. The last finding lists the calls that were not tried,
    if there are some.
    """
    untried, waiting, findings = list[_Call](), list[_Call](), list[Diagnostic]()
    for call in sorted(_list_calls(steps, run), key=lambda call: call.verb):
        call.reason = call.why_untriable()
        (untried if call.reason else waiting).append(call)
    is_known = False
    try:
        is_known = _knows_dry_runs(waiting, run)
    except Unconfirmed as failure:
        findings.append(messages.finding("no dry run", None, request_id=failure.request_id))
    # Irreversible ones last, one by one: a doubt about a reversible call shows that this server may
    # act on dry runs after all.
    reversible = [call for call in waiting if call.verb < _Verb.DELETE] if is_known else []
    deque(run_each(_Call.try_it, reversible), maxlen=0)
    for call in waiting[len(reversible) :]:
        if not is_known:
            call.reason = _UNPROVEN
        elif any(other.doubt for other in waiting):
            call.reason = _AFTER_DOUBT
        else:
            call.try_it()
    refusals: dict[Address, Refusal] = {}
    reasons: dict[str, list[Address]] = {}
    for call in (*untried, *waiting):
        if call.reason:
            reasons.setdefault(call.reason, []).append(call.step.address)
        if call.refusal is not None:
            refusals.setdefault(call.step.address, call.refusal)
        if call.doubt is not None:
            findings.append(call.doubt)
    untried_count = sum(map(len, reasons.values()))
    total = len(untried) + len(waiting)
    if reasons:
        each = (f"{why} ({format_short_list(addresses)})" for why, addresses in reasons.items())
        calls = f"{untried_count} of {format_count_and_noun(total, 'call')}"
        findings.append(messages.finding("not tried", None, calls=calls, reasons="; ".join(each)))
    counts = DryRunCounts(total - untried_count, len(refusals), untried_count)
    return DryRunResult(refusals, counts, tuple(findings))


def _knows_dry_runs(waiting: Iterable[_Call], run: Run) -> bool:
    """Whether a harmless request shows that the server knows dry runs.

    Raises Unconfirmed where its answer shows that the server does not.
    """
    for probe in dict.fromkeys(call.step.binding.send_dry_run_probe for call in waiting):
        try:
            if probe is not None and probe(run.backend.api.dry_run):
                return True
        except Unconfirmed:
            raise
        except RemoteError:
            continue  # a failure shows nothing either way, and nothing was changed
    return False


def _list_calls(steps: Sequence[Step], run: Run) -> Iterator[_Call]:
    companions = {step.companion.address for step in steps if step.companion is not None}
    for step in steps:
        action, due = step.change.action, step.change.verification
        if action in CREATES:
            # A companion is created by its owner's call.
            if step.address not in companions:
                yield _Call(step, _Verb.CREATE, run)
        elif action is Action.DELETE:
            yield _Call(step, _Verb.DELETE, run)
        elif step.plain_fields:
            yield _Call(step, _Verb.UPDATE, run)
        if step.has_final_call:
            yield _Call(step, _Verb.SEAL, run)
        if due is not None and not due.job:
            yield _Call(step, _Verb.RUN, run)
