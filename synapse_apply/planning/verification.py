"""Which run is due for a declared resource, and whether other targets must have proved it first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from synapse_apply.kinds.proof import digest_of
from synapse_apply.model.plan import Action, Refusal
from synapse_apply.model.project import EMBEDDED
from synapse_apply.model.state import Record
from synapse_apply.model.verification import (
    POLL_INTERVAL,
    TIMEOUT,
    Elsewhere,
    LastRun,
    Verdict,
    Verification,
)
from synapse_apply.model.versions import order
from synapse_apply.planning.declared import Survey
from synapse_apply.planning.package import is_replaceable
from synapse_apply.planning.rulings import Ruling
from synapse_apply.planning.series import Series
from synapse_apply.planning.situation import Item

NEVER = "never verified"
CHANGED = "its parameters changed"
FAILED = "the last run failed"
ASKED = "asked for"
_MAKES = frozenset({Action.CREATE, Action.RECREATE})


def proven(item: Item, ruling: Ruling, survey: Survey) -> Ruling:
    """The ruling with the run that is due; what must be proved elsewhere first is refused."""
    if item.type.proof is None or ruling.blocked:
        return ruling
    if ruling.change.action in _MAKES:
        ruling = ruling.refuse(*_unproven(item, survey.elsewhere))
    if ruling.blocked:
        return ruling
    verify = item.desired.verify if item.desired is not None else None
    if verify is None or not survey.choices.verify or _is_older(item, survey.series):
        return ruling
    due, change = _due(item, ruling, survey, verify), ruling.change
    if due is None and _is_adopted(item, change.action):
        note = (
            f"{item.address} is not verified: it was adopted, and is run only by "
            f"`synapse-apply verify {item.address}`"
        )
        change = replace(change, notes=(*change.notes, note))
    return replace(ruling, change=replace(change, verification=due))


def _is_adopted(item: Item, action: Action) -> bool:
    """Whether no run vouches for it because it was, or will be, taken over."""
    record = item.record
    if record is None:
        return action is Action.ADOPT
    # What another API version finds by its key is the object that was run.
    if action is Action.ADOPT and not record.is_same_on(item.binding.api, item.natural_key):
        return True
    last = LastRun.of(record.verification)
    return last is None or last.result is Verdict.UNVERIFIED


def _due(
    item: Item, ruling: Ruling, survey: Survey, verify: Mapping[str, Any]
) -> Verification | None:
    proof, desired, choices = item.type.proof, item.desired, survey.choices
    if proof is None or desired is None:
        return None
    body = proof.body(desired.spec, verify)
    made = Verification(
        body,
        digest_of(body),
        reason="",
        timeout=float(verify.get("timeout", TIMEOUT)),
        poll_interval=float(verify.get("poll_interval", POLL_INTERVAL)),
        on_failure=str(verify.get("on_failure", "fail")),
    )
    if ruling.change.action in _MAKES:
        return replace(made, reason=NEVER)
    if ruling.change.action is Action.ADOPT or item.record is None:
        return None
    return _again(made, item, item.record, asked=item.address in choices.verify_now)


def _again(made: Verification, item: Item, record: Record, *, asked: bool) -> Verification | None:
    """The run as it is due for what is recorded, if it is."""
    last = LastRun.of(record.verification)
    if last is not None and last.result.goes_on and last.parameters == made.parameters:
        if last.result is Verdict.TIMED_OUT and made.tolerant and not asked:
            return None
        still = "is still running" if last.result is Verdict.RUNNING else "did not end in time"
        return replace(made, reason=f"job {last.job} {still}: it is followed", job=last.job)
    reason = ASKED if asked else _why(made, last, item, record)
    return replace(made, reason=reason) if reason else None


def _why(made: Verification, last: LastRun | None, item: Item, record: Record) -> str:
    if last is None:
        # Bytes that are not ours are not proved unasked: nobody here published them.
        ours = record.digest is not None or not item.type.carries_package
        return NEVER if ours else ""
    if last.parameters != made.parameters:
        return CHANGED if last.parameters else NEVER
    if last.result is Verdict.UNKNOWN:
        return "the result of its last run is not known"
    return FAILED if last.result is Verdict.FAILED and not made.tolerant else ""


def _is_older(item: Item, series: Series) -> bool:
    """Whether a newer member is declared beside it: a run would show that one's work."""
    if item.desired is None or not item.type.series:
        return False
    name, version = item.type.place_in_series(item.desired.spec)
    members, mine = series.get((item.address.kind, name)), order(version)
    newest = members.newest if members is not None else None
    return newest is not None and mine is not None and mine < newest


def _unproven(item: Item, elsewhere: Mapping[str, Elsewhere]) -> Iterator[Refusal]:
    """A refusal for each target that has not verified these bytes."""
    for target, there in sorted(elsewhere.items()):
        told = _lacks(item, target, there)
        if told is not None:
            reason, ways = told
            place = item.desired.position if item.desired else None
            yield Refusal("require-verified", reason, ways, place)


def _lacks(item: Item, target: str, there: Elsewhere) -> tuple[str, tuple[str, ...]] | None:
    """Why a target does not vouch for a release, and the ways out; None when it does."""
    must = f"target {target} must have verified it first, and"
    apply, renew = (
        f"`synapse-apply apply -t {target}`",
        f"make it a new version, then apply it to {target}",
    )
    # It runs whatever the last run was; an apply leaves a failure alone that is only a warning.
    verify = f"`synapse-apply verify {item.address} -t {target}`"
    if there.missing:
        init = f"`synapse-apply state init -t {target}`, then " if target != EMBEDDED else ""
        restore = f"`synapse-apply state restore FILE -t {target}`, if there was one"
        return f"{must} there is no state of it here", (f"{init}{apply}", restore)
    if there.problem:
        again = f"make the state of target {target} readable here, then plan again"
        return f"{must} its state cannot be read: {there.problem}", (again,)
    if is_replaceable(item):
        never = f"{must} `{item.type.replaced_if}: true` lets its bytes be replaced after any run"
        return never, (f"remove `{item.type.replaced_if}`: {renew}",)
    package = item.desired.package if item.desired else None
    mine = package.digest if package else ""
    has = there.digests.get(item.address)
    if has is None:
        return f"{must} it is not released there", (apply,)
    if has != mine:
        what = "has other content" if has else "is of bytes that nobody knows"
        return f"{must} what is released there under this version {what}", (renew,)
    last = there.runs.get(item.address)
    if last is None or last.result is Verdict.UNVERIFIED:
        return f"{must} it was never verified there", (apply, verify)
    if last.result is Verdict.PASSED:
        if last.digest != mine:
            return f"{must} what passed there had other content", (verify,)
        doubt = there.doubts.get(item.address)
        return (f"{must} {doubt.why}", (verify, *doubt.ways)) if doubt else None
    how = f" (job {last.job})" if last.job else ""
    return f"{must} its run there has not passed: {last.result.value}{how}", (verify, renew)
