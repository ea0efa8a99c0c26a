"""Which verification run is due for a resource, and which other targets must have run it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.kinds.run_body import compute_run_body_digest
from synapse_apply.model.command import Command, Text
from synapse_apply.model.frozen import replace
from synapse_apply.model.job import (
    DEFAULT_POLL_INTERVAL,
    DEFAULT_TIMEOUT,
    LastRun,
    OtherTargetRuns,
    RunStatus,
    Verification,
)
from synapse_apply.model.plan import NOT_VERIFIED_YET_RULE, Action, Refusal
from synapse_apply.model.project import EMBEDDED
from synapse_apply.planning.decision import CREATES, Decision
from synapse_apply.planning.package import is_replaceable
from synapse_apply.planning.plan_input import PlanInput, ResourceState
from synapse_apply.planning.series import Series

NEVER_VERIFIED = "never verified"
PARAMETERS_CHANGED = "its parameters changed"
LAST_RUN_FAILED = "the last run failed"
ASKED_FOR = "requested"
CANNOT_BE_VERIFIED_RULE = "cannot-be-verified"


def add_due_run(
    resource: ResourceState, decision: Decision, plan_input: PlanInput, series: Series
) -> Decision:
    """The decision with its due run, or refused if other targets must verify the release first."""
    if resource.type.verification_spec is None or decision.is_blocked:
        return decision
    change, options = decision.change, plan_input.options
    if change.action in CREATES or change.replaces_package:
        targets = sorted(plan_input.other_targets.items())
        gaps = (_find_gap(resource, target, runs) for target, runs in targets)
        decision = decision.refused(*filter(None, gaps))
    verify = resource.desired.verify if resource.desired is not None else None
    # A run executes the newest release of the plugin, so it shows nothing about an older one.
    if (
        decision.is_blocked
        or verify is None
        or not options.verify
        or series.is_superseded(resource)
    ):
        return decision
    is_requested, record = resource.address in options.verify_now, resource.record
    due = _find_due_run(resource, change.action, verify, is_requested=is_requested)
    # Only a create makes it ours.
    is_untold = bool(
        due
        and not (is_requested or due.job or change.action in CREATES)
        and record
        and record.is_package_untold
    )
    if change.replaces_package or (record and record.replaced_at):
        decision = decision.noted(
            f"{resource.address} is not verified: its package was replaced under this version, "
            "and an agent may still run the earlier package. No run of this version counts. "
            "Publish a new version"
        )
        due = due if is_requested else None
    elif is_untold or (due is None and _is_unverified(resource, change.action)):
        why = "it is unknown whose package is published" if is_untold else "it was adopted"
        run = Command("verify", resource.address)
        note = Text(f"{resource.address} is not verified: {why}, so it is run only by ", run)
        decision, due = decision.noted(note), None
    # One after a recreation is as it was before, unless its parameters are others.
    recorded = record.verification if record and change.action is Action.RECREATE else None
    before = LastRun.from_json_or_none(recorded)
    is_new = due and (before is None or before.parameters != due.parameters)
    return decision.changed(verification=due, of_git=change.of_git or bool(is_new))


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
    resource: ResourceState, action: Action, verify: Mapping[str, Any], *, is_requested: bool
) -> Verification | None:
    """The run that is due, new or followed; None for none."""
    proof, record = resource.type.verification_spec, resource.record
    if proof is None:
        return None
    body = proof.build_body(resource.spec, verify)
    run = Verification(
        body,
        compute_run_body_digest(body),
        reason="",
        timeout=float(verify.get("timeout", DEFAULT_TIMEOUT)),
        poll_interval=float(verify.get("poll_interval", DEFAULT_POLL_INTERVAL)),
        on_failure=str(verify.get("on_failure", "fail")),
    )
    if action in CREATES:
        return replace(run, reason=NEVER_VERIFIED)
    # An adopted object runs only if asked for, since its package is not ours.
    if action is Action.ADOPT or record is None:
        return None
    last_run = LastRun.from_json_or_none(record.verification)
    is_same = last_run is not None and last_run.parameters == run.parameters
    reason = ""
    if last_run is not None and is_same and last_run.result.may_run_still:
        is_timed_out = last_run.result is RunStatus.TIMED_OUT
        # Otherwise every apply would wait for a run whose failure does not matter.
        if is_timed_out and run.tolerates_failure and not is_requested:
            return None
        is_running = last_run.result is RunStatus.RUNNING
        status = "was not seen to end" if is_running else "did not end in time"
        reason = f"job {last_run.job} {status}: the tool follows it"
        return replace(run, reason=reason, job=last_run.job)
    if is_requested:
        reason = ASKED_FOR
    elif last_run is None:
        # A package that others published is run only if that is asked for.
        is_own_package = record.digest is not None or not resource.type.carries_package
        reason = NEVER_VERIFIED if is_own_package else ""
    elif not is_same:
        reason = PARAMETERS_CHANGED if last_run.parameters else NEVER_VERIFIED
    elif last_run.result is RunStatus.UNKNOWN:
        reason = "the result of its last run is unknown"
    elif last_run.result is RunStatus.FAILED and not run.tolerates_failure:
        reason = LAST_RUN_FAILED
    return replace(run, reason=reason) if reason else None


def _find_gap(resource: ResourceState, target: str, other: OtherTargetRuns) -> Refusal | None:
    """The refusal of a release that a target must have verified and has not; None if it has."""

    def refused(why: str, *ways_out: str, ends: bool = False) -> Refusal:
        # One that ends is closed by a run of that target that is still to come.
        rule = NOT_VERIFIED_YET_RULE if ends else CANNOT_BE_VERIFIED_RULE
        reason = f"target {target} must have verified it first, but {why}"
        return Refusal(rule, reason, ways_out, resource.position())

    address, option = resource.address, resource.type.replaceable_if
    apply = Text(Command("apply", target=target))
    # `verify` always runs; an apply does not repeat a failure that is tolerated.
    verify = Text(Command("verify", address, target=target))
    new_version = f"declare a new version, then apply it to {target}"
    if other.missing:
        init = Text(Command("state init", target=target), ", then ") if target != EMBEDDED else ""
        restore = Text(Command("state restore FILE", target=target), ", if a backup exists")
        return refused("no state of that target was found here", init + apply, restore)
    if other.problem:
        readable = f"make the state of target {target} readable on this machine, then plan again"
        return refused(f"its state cannot be read: {other.problem}", readable)
    if is_replaceable(resource):
        why = f"`{option}: true` allows its bytes to be replaced after any run"
        return refused(why, f"remove `{option}`: {new_version}")
    package = resource.desired.package if resource.desired else None
    own_digest, target_digest = package.digest if package else "", other.digests.get(address)
    if target_digest is None:
        return refused("it is not released there", apply, ends=True)
    if target_digest != own_digest:
        why = "the release there under this version "
        if target_digest:
            return refused(f"{why}has other content", new_version)
        read = Command("verify", address, "--bytes", target=target)
        reads = Text(read, " reads the bytes, if the backend offers them")
        return refused(f"{why}has unknown content", reads, new_version)
    last_run, doubt = other.runs.get(address), other.doubts.get(address)
    has_passed = last_run is not None and last_run.result is RunStatus.PASSED
    if doubt is not None and not has_passed:
        return refused(doubt.reason, new_version)
    if last_run is None or last_run.result is RunStatus.UNVERIFIED:
        return refused("it was never verified there", apply, verify, ends=True)
    if not has_passed:
        job = f" (job {last_run.job})" if last_run.job else ""
        why = f"its run there has not passed: {last_run.result.value}{job}"
        return refused(why, verify, new_version, ends=True)
    # The target may have got another package after its last run.
    if last_run.digest != own_digest:
        return refused("the content that passed there differs", verify)
    return refused(doubt.reason, verify, *doubt.ways_out) if doubt else None
