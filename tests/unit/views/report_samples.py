"""Reports that show every result, and what surrounds it."""

from __future__ import annotations

from unit.views import plan_samples as plans

from synapse_apply import Report
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import error_finding, warning_finding
from synapse_apply.model.job import RunStatus, VerificationResult
from synapse_apply.model.plan import Action
from synapse_apply.model.report import Outcome, Result

CREATED = Outcome(plans.YOLO, Action.CREATE, Result.DONE, "41", "req-1", 0.42)
UPDATED = Outcome(
    plans.UPDATE.address,
    Action.UPDATE,
    Result.DONE,
    "12",
    "req-2",
    12.2,
    (
        warning_finding(
            "The server changed the value of a field",
            'description is still "old".',
            path=("description",),
        ),
    ),
)
FAILED = Outcome(
    plans.LAKE,
    Action.CREATE,
    Result.FAILED,
    request_id="req-3",
    seconds=0.2,
    diagnostics=(
        error_finding(
            "The server refused the storage",
            "HTTP 400: provider: amazon_s3 is switched off for this tenant.",
            "ask an administrator of acme to switch it on",
        ),
    ),
)
SKIPPED = Outcome(
    plans.RELEASE,
    Action.CREATE,
    Result.SKIPPED,
    diagnostics=(error_finding("It depends on what failed", "plugin/yolo was not created."),),
)
UNKNOWN = Outcome(
    plans.RECREATE.address, Action.RECREATE, Result.UNKNOWN, request_id="req-5", seconds=185.0
)
PUBLISHED = Outcome(plans.RELEASE, Action.CREATE, Result.DONE, "17", "req-7", 1.5)
PASSED = VerificationResult(plans.RELEASE, RunStatus.PASSED, "12", request_id="req-8", seconds=31.0)
NOT_PASSED = VerificationResult(
    plans.RELEASE,
    RunStatus.FAILED,
    "12",
    request_id="req-8",
    seconds=31.0,
    logs=("2026-11-24T12:00:00Z: step 1", "\x1b[31m::error::red", "two\nlines"),
    diagnostics=(
        error_finding(
            "The verification failed",
            "Job 12 failed. 1.2.0 is published, and cannot be withdrawn on v1.",
            "If the parameters are wrong: edit spec.verify. If the code is wrong: raise the "
            "version.",
            address=str(plans.RELEASE),
        ),
    ),
)
RUNS = {
    "tolerated": VerificationResult(
        plans.VERIFY_AGAIN.address, RunStatus.TIMED_OUT, "13", tolerated=True
    ),
    "running": VerificationResult(Address("release", "a@1"), RunStatus.RUNNING, "14", seconds=2.0),
    "unknown": VerificationResult(Address("release", "b@1"), RunStatus.UNKNOWN),
    "skipped": VerificationResult(
        Address("release", "c@1"),
        RunStatus.SKIPPED,
        diagnostics=(error_finding("Not tried", "The run was stopped."),),
    ),
}
KEPT = "/srv/p/.synapse-apply/unrecorded-prod-p1.jsonl"
UNRECORDED = Outcome(
    plans.YOLO,
    Action.CREATE,
    Result.UNKNOWN,
    "41",
    "req-1",
    0.42,
    (
        error_finding(
            "The outcome of a call could not be recorded",
            "create of plugin/yolo has ended (id 41), but the state could not record it.",
        ),
    ),
    recovery_file=KEPT,
)
REPORTS = {
    "verified": Report(plans.PLANS["verify"], (PUBLISHED,), verification_results=(PASSED,)),
    "not-verified": Report(
        plans.PLANS["verify"], (PUBLISHED,), verification_results=(NOT_PASSED, *RUNS.values())
    ),
    "verify-command": Report(
        plans.PLANS["verify-only"], verification_results=(PASSED,), extras={"operation": "verify"}
    ),
    "complete": Report(
        plans.plan(plans.CREATE_PLUGIN, plans.UPDATE, diagnostics=(plans.WARNING,)),
        (CREATED, UPDATED),
    ),
    "everything": Report(
        plans.PLANS["everything"],
        (
            CREATED,
            SKIPPED,
            FAILED,
            UPDATED,
            Outcome(plans.ADOPT.address, Action.ADOPT, Result.DONE, "7"),
            Outcome(plans.ADOPT_AND_UPDATE.address, Action.ADOPT, Result.DONE, "31", "req-4", 1.0),
            UNKNOWN,
            Outcome(plans.DELETE.address, Action.DELETE, Result.DONE, "9", "req-6", 0.1),
            Outcome(plans.FORGET.address, Action.FORGET, Result.DONE, "4"),
            Outcome(plans.REBASE.address, Action.NO_OP, Result.DONE, "3"),
        ),
        extras={"guards_overridden": ["missing_all"]},
    ),
    "refused": Report(plans.plan(plans.CREATE_PLUGIN, plans.REFUSED_STORAGE), (CREATED,)),
    "stopped": Report(plans.PLANS["create"], (CREATED, SKIPPED), stop_signal=15),
    "unrecorded": Report(plans.PLANS["create"], (UNRECORDED, SKIPPED)),
    "nothing": Report(plans.PLANS["empty"]),
}
