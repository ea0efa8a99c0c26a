"""Reports that show every result, and what surrounds it."""

from __future__ import annotations

from unit.views import plan_samples as plans

from synapse_apply.model.diagnostic import error, warning
from synapse_apply.model.plan import Action
from synapse_apply.model.report import Outcome, Report, Result

CREATED = Outcome(plans.YOLO, Action.CREATE, Result.DONE, "41", "req-1", 0.42)
UPDATED = Outcome(
    plans.UPDATE.address,
    Action.UPDATE,
    Result.DONE,
    "12",
    "req-2",
    12.2,
    (
        warning(
            "The server did not take a field", 'description is still "old".', path=("description",)
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
        error(
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
    diagnostics=(error("It depends on what failed", "plugin/yolo was not created."),),
)
UNKNOWN = Outcome(
    plans.RECREATE.address, Action.RECREATE, Result.UNKNOWN, request_id="req-5", seconds=185.0
)
KEPT = "/srv/p/.synapse-apply/unrecorded-prod-p1.jsonl"
UNRECORDED = Outcome(
    plans.YOLO,
    Action.CREATE,
    Result.UNKNOWN,
    "41",
    "req-1",
    0.42,
    (
        error(
            "The state could not be told how a call ended",
            "create of plugin/yolo has ended (id 41), and its record could not be written.",
        ),
    ),
    unrecorded=KEPT,
)
REPORTS = {
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
    "stopped": Report(plans.PLANS["create"], (CREATED, SKIPPED), stopped=15),
    "unrecorded": Report(plans.PLANS["create"], (UNRECORDED, SKIPPED)),
    "nothing": Report(plans.PLANS["empty"]),
}
