"""Calls of a plan sent to be checked by the server and not to be acted on: dry runs.

A server that does not know dry runs acts on them. So first it is asked for something that changes
nothing in any case, and its answer must say that it was a dry run. Where there is nothing to ask
that of, calls go out one by one until an answer says so, those that can be undone before others
and none that cannot. An answer that does not say so ends it, and what became of its call is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from synapse_apply.applying import failures
from synapse_apply.applying.body import sent_secrets
from synapse_apply.applying.task import CREATES, Live, Task, Tools, together
from synapse_apply.applying.ways import CREATE, DELETE, RUN, SEAL, UPDATE, Way
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, error, warning
from synapse_apply.model.errors import (
    Effect,
    RemoteError,
    RemoteTimeout,
    SecretUnavailable,
    SynapseApplyError,
    Unconfirmed,
    recourse,
)
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Action, Refusal
from synapse_apply.model.trial import Trial
from synapse_apply.model.values import references

RULE = "server"
# How progress is told of it.
VERB = "try"
NOT_SHOWN = "the backend has not shown that it knows dry runs"
_STOPPED = "nothing was tried after an answer that did not say it was a dry run"
# What says something of the moment or of the line, and nothing of the call.
_PASSING = frozenset({408, 429})


@frozen
class Step:
    """One call of a task."""

    task: Task
    way: Way

    @property
    def verb(self) -> str:
        """As it is shown."""
        seal = self.task.binding.seal
        return seal.verb if seal is not None and self.way is SEAL else self.way.verb

    def __str__(self) -> str:
        return f"{self.verb} of {self.task.address}"


@frozen
class Ended:
    """What came of a step: fine, unless it was refused, not tried, or may have been done."""

    step: Step
    refusal: Refusal | None = None
    why: str = ""
    doubt: Diagnostic | None = None

    @property
    def told(self) -> str:
        """As progress is told of it."""
        if self.refusal is not None:
            return "refused"
        return "failed" if self.why or self.doubt is not None else "done"


@dataclass(slots=True)
class Trials:
    """What came of all: refusals by address, reasons by what was not tried, findings."""

    tried: int = 0
    refused: dict[Address, Refusal] = field(default_factory=dict)
    untried: list[tuple[Step, str]] = field(default_factory=list)
    findings: list[Diagnostic] = field(default_factory=list)

    @property
    def counts(self) -> Trial:
        return Trial(self.tried, len(self.refused), len(self.untried))

    def add(self, ended: Ended) -> None:
        """Count one, and keep what is to be told of it."""
        if ended.why:
            self.untried.append((ended.step, ended.why))
            return
        self.tried += 1
        if ended.refusal is not None:
            self.refused.setdefault(ended.step.task.address, ended.refusal)
        if ended.doubt is not None:
            self.findings.append(ended.doubt)

    def leave(self, steps: Iterable[Step], why: str) -> None:
        """Count some as not tried."""
        self.untried += [(step, why) for step in steps]


Every = Callable[[Callable[[Step], Ended], Sequence[Step]], Iterable[Ended]]


def rehearse(
    tasks: Iterable[Task], tools: Tools, live: Live, every: Every, *, careful: bool = False
) -> Trials:
    """Try every call of these tasks that can be tried. Nothing but reads and dry runs is sent.

    `every` does a work for several, side by side where it likes. `careful`: something speaks
    against the plan as a whole, so only a server that is known to make dry runs is asked.
    """
    made, waiting = Trials(), list[Step]()
    for step in sorted(_steps(tasks), key=_reach):
        why = _why_not(step, tools, live)
        made.leave([step], why) if why else waiting.append(step)
    try:
        known = _is_known(waiting, tools)
    except Unconfirmed as failure:
        made.findings.append(_says_nothing(failure))
        made.leave(waiting, NOT_SHOWN)
        return made
    while waiting and not (known or careful or waiting[0].way.lasting):
        ended = _attempt(waiting.pop(0), tools, live, known=False)
        made.add(ended)
        if ended.doubt is not None:
            made.leave(waiting, _STOPPED)
            return made
        known = not (ended.refusal or ended.why)
    if known:
        _try_the_rest(waiting, tools, live, every, made)
    else:
        made.leave(waiting, NOT_SHOWN)
    return made


def _try_the_rest(
    waiting: Sequence[Step], tools: Tools, live: Live, every: Every, made: Trials
) -> None:
    """Side by side, those that nothing takes back at the end and one by one."""

    def work(step: Step) -> Ended:
        return _attempt(step, tools, live, known=True)

    for ended in every(work, [step for step in waiting if not step.way.lasting]):
        made.add(ended)
    for step in waiting:
        if not step.way.lasting:
            continue
        if made.findings:
            made.leave([step], _STOPPED)
        else:
            made.add(work(step))


def _is_known(waiting: Iterable[Step], tools: Tools) -> bool:
    """Whether the server shows that it knows dry runs; Unconfirmed when it shows the opposite."""
    for harmless in dict.fromkeys(step.task.binding.harmless for step in waiting):
        try:
            if harmless is not None and harmless(tools.api.trying):
                return True
        except Unconfirmed:
            raise
        except RemoteError:
            continue  # it shows nothing, and nothing was changed
    return False


def _steps(tasks: Iterable[Task]) -> Iterator[Step]:
    tasks = list(tasks)
    along = {task.carries.address for task in tasks if task.carries is not None}
    for task in tasks:
        action = task.change.action
        if action in CREATES:
            if task.address not in along:
                yield Step(task, CREATE)
        elif action is Action.DELETE:
            yield Step(task, DELETE)
        elif task.fields:
            yield Step(task, UPDATE)
        if task.seals:
            yield Step(task, SEAL)
        due = task.change.verification
        if due is not None and not due.job:
            yield Step(task, RUN)


def _reach(step: Step) -> int:
    """What to try first: what does the least where a server acts on it."""
    return (UPDATE, CREATE, DELETE, SEAL, RUN).index(step.way)


def _why_not(step: Step, tools: Tools, live: Live) -> str:
    """Why a call cannot be tried, "" where it can."""
    task = step.task
    if step.way.send is None:
        return "a run cannot be tried"
    if task.binding.harmless is None:
        return f"API {task.binding.api} has no dry run"
    if step.way is SEAL and task.change.action in CREATES:
        return "it is not there yet"
    if step.way in {CREATE, UPDATE} and task.desired is not None:
        needs = sorted({one.address for one in references(task.desired.spec)} - live.keys())
        if needs:
            return f"it needs {needs[0]}, which is not there yet"
    for one in together(task):
        for _path, ref in sent_secrets(one):
            try:
                tools.secrets.resolve(ref)
            except SecretUnavailable as missing:
                return missing.diagnostics[0].detail.rstrip(".")
    return ""


def _attempt(step: Step, tools: Tools, live: Live, *, known: bool) -> Ended:
    """Try one; once the server is known to make dry runs, a lost answer did no harm."""
    address, began = step.task.address, tools.clock.seconds()
    tools.progress.started(address, VERB)
    ended = _tried(step, tools, live, known=known)
    tools.progress.finished(address, VERB, ended.told, tools.clock.seconds() - began)
    return ended


def _tried(step: Step, tools: Tools, live: Live, *, known: bool) -> Ended:
    task, send = step.task, step.way.send
    try:
        if send is not None:
            send(task, tools, live)
    except SynapseApplyError as failure:
        return Ended(step, why=failure.diagnostics[0].detail.rstrip("."))
    except RemoteError as failure:
        lost = failure.effect is Effect.UNKNOWN and not known
        if lost or isinstance(failure, Unconfirmed):
            return Ended(step, doubt=_doubt(step, failure, tools, live))
        status = failure.status_code
        if 400 <= status < 500 and status not in _PASSING:
            return Ended(step, refusal=_refusal(step, failure, tools))
        return Ended(step, why=_unanswered(task, failure, tools))
    return Ended(step)


def _unanswered(task: Task, failure: RemoteError, tools: Tools) -> str:
    if failure.status_code:
        return failures.answered(task, failure, tools.marks.for_address(task.address)).rstrip(".")
    if isinstance(failure, RemoteTimeout):
        return "no answer came in time"
    return "no answer came" if failure.effect is Effect.UNKNOWN else f"{failure}".rstrip(".")


def _refusal(step: Step, failure: RemoteError, tools: Tools) -> Refusal:
    task = step.task
    what = "" if step.way in {CREATE, UPDATE, DELETE} else f" of its {step.verb}"
    words = failures.answered(
        task, failure, tools.marks.for_address(task.address), f" to a dry run{what}"
    )
    if failure.request_id:
        words += f" (request id {failure.request_id})"
    if failure.status_code == failures.CONFLICT and step.way is CREATE:
        new = "a new version" if task.type.series else "another name or code"
        ways: tuple[str, ...] = (
            f"declare it under {new}",
            f"if it is there and you know its id: `synapse-apply import {task.address} ID`",
        )
    else:
        way = recourse(failure, "plan again", "Settle what it says, then plan again.")
        ways = (f"{way[0].lower()}{way[1:]}".rstrip("."),)
    position = task.desired.position if task.desired else None
    return Refusal(RULE, words, ways, position)


def _says_nothing(failure: RemoteError) -> Diagnostic:
    return warning(
        "The backend does not say that it makes dry runs",
        "Asked for a dry run of a change of nothing, it answered without saying that it was one. "
        "It may act on a dry run, so that no call was tried.",
        "Plan without --server-dry-run.",
        request_id=failure.request_id,
    )


def _doubt(step: Step, failure: RemoteError, tools: Tools, live: Live) -> Diagnostic:
    """What became of a call that was to be checked only, as far as it can be seen."""
    told = isinstance(failure, Unconfirmed)
    why = "the answer does not say that it was a dry run" if told else "the answer was lost"
    about: dict[str, Any] = {
        "address": f"{step.task.address}",
        "request_id": failure.request_id,
    }
    acted = step.way.acted(step.task, tools, live)
    if acted:
        return error(
            "The backend acted on a dry run",
            f"The {step} was to be checked only, and it was done: {why}. Nothing more was tried.",
            "Plan without --server-dry-run, which this backend does not know: the new plan shows "
            "what is there now.",
            **about,
        )
    if acted is None:
        return error(
            "A dry run may have been acted on",
            f"The {step} was to be checked only: {why}, and nobody can tell whether it was done. "
            "Nothing more was tried.",
            f"Look at {step.task.address} in the product, then plan without --server-dry-run.",
            **about,
        )
    return warning(
        "The backend does not say that it made a dry run",
        f"The {step} was to be checked only: {why}. It was not done, and nothing more was tried.",
        **about,
    )
