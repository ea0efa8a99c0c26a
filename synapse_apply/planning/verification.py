"""Which verification run is due for a resource, and which other targets must have run it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from synapse_apply.kinds.run_body import compute_run_body_digest
from synapse_apply.model.command import Command, Text
from synapse_apply.model.job import (
    DEFAULT_POLL_INTERVAL,
    DEFAULT_TIMEOUT,
    LastRun,
    OtherTargetRuns,
    RunStatus,
    Verification,
)
from synapse_apply.model.packages import version_sort_key
from synapse_apply.model.plan import NOT_VERIFIED_YET_RULE, Action, Refusal
from synapse_apply.model.project import EMBEDDED
from synapse_apply.model.state import Record
from synapse_apply.planning.decide import PlanIndex
from synapse_apply.planning.decision import Decision
from synapse_apply.planning.package import is_replaceable
from synapse_apply.planning.plan_input import ResourceState, SeriesKey
from synapse_apply.planning.series import SeriesMap

NEVER_VERIFIED = "never verified"
PARAMETERS_CHANGED = "its parameters changed"
LAST_RUN_FAILED = "the last run failed"
ASKED_FOR = "asked for"
CANNOT_BE_VERIFIED_RULE = "cannot-be-verified"
_CREATES = frozenset({Action.CREATE, Action.RECREATE})


def add_due_run(resource: ResourceState, decision: Decision, index: PlanIndex) -> Decision:
    """The decision with its due run, or refused if other targets must verify the release first."""
    if resource.type.verification_spec is None or decision.is_blocked:
        return decision
    if decision.change.action in _CREATES or decision.change.replaces_package:
        decision = decision.refused(*_unverified_refusals(resource, index.plan_input.other_targets))
    if decision.is_blocked:
        return decision
    verify = resource.desired.verify if resource.desired is not None else None
    # A run executes the newest release of the plugin, so it shows nothing about an older one.
    if (
        verify is None
        or not index.plan_input.options.verify
        or _is_superseded(resource, index.series)
    ):
        return decision
    due, change = _find_due_run(resource, decision, index, verify), decision.change
    if change.replaces_package or (resource.record and resource.record.replaced_at):
        note = (
            f"{resource.address} is not verified: its package was replaced under this version, and "
            f"an agent may still run an earlier one; no run of it counts. Publish a new version"
        )
        change = replace(change, notes=(*change.notes, note))
        due = due if resource.address in index.plan_input.options.verify_now else None
    elif due is None and _is_unverified(resource, change.action):
        note = Text(
            f"{resource.address} is not verified: it was adopted, and is run only by ",
            Command("verify", resource.address),
        )
        change = replace(change, notes=(*change.notes, note))
    # One after a recreation is as it was before, unless its parameters are others.
    record = resource.record if change.action is Action.RECREATE else None
    last_run = LastRun.from_json_or_none(record.verification) if record else None
    is_new = due and (last_run is None or last_run.parameters != due.parameters)
    of_git = change.of_git or bool(is_new)
    return replace(decision, change=replace(change, verification=due, of_git=of_git))


def _is_unverified(resource: ResourceState, action: Action) -> bool:
    """Whether the object was or will be adopted, and no run of ours has verified it."""
    record = resource.record
    if record is None:
        return action is Action.ADOPT
    # The same object, found by its key on another API version, keeps its verification.
    if action is Action.ADOPT and not record.is_same_object_elsewhere(
        resource.binding.api, resource.natural_key
    ):
        return True
    last_run = LastRun.from_json_or_none(record.verification)
    return last_run is None or last_run.result is RunStatus.UNVERIFIED


def _find_due_run(
    resource: ResourceState, decision: Decision, index: PlanIndex, verify: Mapping[str, Any]
) -> Verification | None:
    proof, desired = resource.type.verification_spec, resource.desired
    verify_now = index.plan_input.options.verify_now
    if proof is None or desired is None:
        return None
    body = proof.build_body(desired.spec, verify)
    verification = Verification(
        body,
        compute_run_body_digest(body),
        reason="",
        timeout=float(verify.get("timeout", DEFAULT_TIMEOUT)),
        poll_interval=float(verify.get("poll_interval", DEFAULT_POLL_INTERVAL)),
        on_failure=str(verify.get("on_failure", "fail")),
    )
    if decision.change.action in _CREATES:
        return replace(verification, reason=NEVER_VERIFIED)
    # An adopted object runs only if asked for, since its package is not ours.
    if decision.change.action is Action.ADOPT or resource.record is None:
        return None
    return _due_recorded_run(
        verification, resource, resource.record, is_requested=resource.address in verify_now
    )


def _due_recorded_run(
    verification: Verification, resource: ResourceState, record: Record, *, is_requested: bool
) -> Verification | None:
    """The run that is due for a recorded object, new or followed; None for none."""
    last_run = LastRun.from_json_or_none(record.verification)
    if (
        last_run is not None
        and last_run.result.may_run_still
        and last_run.parameters == verification.parameters
    ):
        if (
            last_run.result is RunStatus.TIMED_OUT
            # Otherwise every apply would wait for a run whose failure does not matter.
            and verification.tolerates_failure
            and not is_requested
        ):
            return None
        status_text = (
            "was running when it was last seen"
            if last_run.result is RunStatus.RUNNING
            else "did not end in time"
        )
        return replace(
            verification,
            reason=f"job {last_run.job} {status_text}: it is followed",
            job=last_run.job,
        )
    reason = ASKED_FOR if is_requested else _run_reason(verification, last_run, resource, record)
    return replace(verification, reason=reason) if reason else None


def _run_reason(
    verification: Verification, last_run: LastRun | None, resource: ResourceState, record: Record
) -> str:
    if last_run is None:
        # A package that others published is run only if that is asked for.
        is_own_package = record.digest is not None or not resource.type.carries_package
        return NEVER_VERIFIED if is_own_package else ""
    if last_run.parameters != verification.parameters:
        return PARAMETERS_CHANGED if last_run.parameters else NEVER_VERIFIED
    if last_run.result is RunStatus.UNKNOWN:
        return "the result of its last run is not known"
    return (
        LAST_RUN_FAILED
        if last_run.result is RunStatus.FAILED and not verification.tolerates_failure
        else ""
    )


def _is_superseded(resource: ResourceState, series: SeriesMap) -> bool:
    """Whether a newer member is declared as well, which is the one that a run would execute."""
    if resource.desired is None or not resource.type.series_field:
        return False
    name, version = resource.type.locate_in_series(resource.desired.spec)
    members, parsed_version = (
        series.get(SeriesKey(resource.address.kind, name)),
        version_sort_key(version),
    )
    newest = members.newest_declared_sort_key if members is not None else None
    return newest is not None and parsed_version is not None and parsed_version < newest


class _VerificationGap(NamedTuple):
    """Why a target has not verified a release, and the ways out.

    `ends_by_itself`: a run of that target that is still to come closes it.
    """

    reason: str
    ways_out: tuple[str, ...]
    ends_by_itself: bool = False


def _unverified_refusals(
    resource: ResourceState, other_targets: Mapping[str, OtherTargetRuns]
) -> Iterator[Refusal]:
    """A refusal for each target that must have verified this package and has not."""
    for target, other_target in sorted(other_targets.items()):
        gap = _find_verification_gap(resource, target, other_target)
        if gap is not None:
            position = resource.desired.position if resource.desired else None
            yield Refusal(
                NOT_VERIFIED_YET_RULE if gap.ends_by_itself else CANNOT_BE_VERIFIED_RULE,
                gap.reason,
                gap.ways_out,
                position,
            )


def _find_verification_gap(
    resource: ResourceState, target: str, other_target: OtherTargetRuns
) -> _VerificationGap | None:
    """Why a target has not verified a release; None if it has."""
    requirement = f"target {target} must have verified it first, and"
    apply_hint, verify_hint = (
        Text(Command("apply", target=target)),
        # `verify` always runs; an apply does not repeat a failure that is tolerated.
        Text(Command("verify", resource.address, target=target)),
    )
    new_version_hint = f"make it a new version, then apply it to {target}"
    if other_target.missing:
        init_step = Text(Command("state init", target=target), ", then ")
        return _VerificationGap(
            f"{requirement} there is no state of it here",
            (
                init_step + apply_hint if target != EMBEDDED else apply_hint,
                Text(Command("state restore FILE", target=target), ", if there was one"),
            ),
        )
    if other_target.problem:
        reason = f"{requirement} its state cannot be read: {other_target.problem}"
        readable_hint = f"make the state of target {target} readable here, then plan again"
        return _VerificationGap(reason, (readable_hint,))
    if is_replaceable(resource):
        reason = (
            f"{requirement} `{resource.type.replaceable_if}: true` lets its bytes be "
            f"replaced after any run"
        )
        ways_out = (f"remove `{resource.type.replaceable_if}`: {new_version_hint}",)
        return _VerificationGap(reason, ways_out)
    package = resource.desired.package if resource.desired else None
    own_digest = package.digest if package else ""
    target_digest = other_target.digests.get(resource.address)
    if target_digest is None:
        reason = f"{requirement} it is not released there"
        return _VerificationGap(reason, (apply_hint,), ends_by_itself=True)
    if target_digest != own_digest:
        difference = "has other content" if target_digest else "is of bytes that nobody knows"
        reason = f"{requirement} what is released there under this version {difference}"
        read_bytes = Command("verify", resource.address, "--bytes", target=target)
        reads = Text(read_bytes, " reads them, where it can")
        return _VerificationGap(reason, (*([] if target_digest else [reads]), new_version_hint))
    last_run = other_target.runs.get(resource.address)
    doubt = other_target.doubts.get(resource.address)
    if doubt is not None and (last_run is None or last_run.result is not RunStatus.PASSED):
        return _VerificationGap(f"{requirement} {doubt.reason}", (new_version_hint,))
    if last_run is None or last_run.result is RunStatus.UNVERIFIED:
        reason = f"{requirement} it was never verified there"
        return _VerificationGap(reason, (apply_hint, verify_hint), ends_by_itself=True)
    if last_run.result is RunStatus.PASSED:
        # The target may have got another package after its last run.
        if last_run.digest != own_digest:
            reason = f"{requirement} what passed there had other content"
            return _VerificationGap(reason, (verify_hint,))
        if doubt is None:
            return None
        return _VerificationGap(f"{requirement} {doubt.reason}", (verify_hint, *doubt.ways_out))
    job_text = f" (job {last_run.job})" if last_run.job else ""
    reason = f"{requirement} its run there has not passed: {last_run.result.value}{job_text}"
    return _VerificationGap(reason, (verify_hint, new_version_hint), ends_by_itself=True)
