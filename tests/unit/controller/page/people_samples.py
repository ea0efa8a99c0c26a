"""A controller with `access`, and targets that wait for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from unit.controller.page import page_samples as samples

from synapse_apply.controller.configuration.secrets import AccessSecrets
from synapse_apply.controller.planned_rows import (
    HeldRow,
    HoldReason,
    PlannedRow,
    RowAction,
    RowCause,
)
from synapse_apply.controller.rows import (
    ApprovalRow,
    CallCounts,
    HoldRow,
    PauseRow,
    RunCause,
    RunOutcome,
    RunVerb,
    TargetCondition,
    TargetName,
)
from synapse_apply.controller.settings import (
    Access,
    AccessRule,
    Mode,
    ProxyAccess,
    Right,
    SecretName,
    TargetRule,
)
from synapse_apply.controller.store.controller_store import ControllerStore
from synapse_apply.model.values import Sensitive

PROXY_SECRET, OPS_TOKEN, CI_TOKEN = (f"c4n4ry-{name}-0123456789" for name in ("proxy", "ops", "ci"))
SECRETS = AccessSecrets(
    Sensitive(PROXY_SECRET), {"ops": Sensitive(OPS_TOKEN), "ci": Sensitive(CI_TOKEN)}
)
READ_ONLY = frozenset({Right.READ})
ACCESS = Access(
    ProxyAccess("X-User", "X-Proxy-Secret", SecretName("env", "P"), "X-Groups"),
    {"ops": SecretName("env", "O"), "ci": SecretName("env", "C")},
    (
        AccessRule(("group:sre", "token:ops"), frozenset(Right), ("*",)),
        AccessRule(("proxy:mina",), READ_ONLY, ("acme/*",)),
        AccessRule(("proxy:jonas",), READ_ONLY | {Right.RECONCILE}, ("acme/dev", "acme/staging")),
        AccessRule(("proxy:kim",), READ_ONLY | {Right.PAUSE}, ("acme/*",)),
        AccessRule(("proxy:lee",), READ_ONLY | {Right.APPROVE}, ("*/staging",)),
        AccessRule(("token:ci",), READ_ONLY, ("vision/*",)),
    ),
)
STAGING = TargetName("acme", "staging")
RULES = (
    TargetRule("staging", Mode.APPROVE, approvals=2, not_author=True),
    TargetRule("*", Mode.AUTO),
)
SETTINGS = replace(
    samples.SETTINGS,
    access=ACCESS,
    sources={
        name: replace(source, rules=RULES) for name, source in samples.SETTINGS.sources.items()
    },
)
HELD = (
    HeldRow(
        PlannedRow("row1:" + "a1" * 32, "plugin/yolo", RowAction.CREATE, (RowCause.GIT,),
                   summary="create plugin/yolo with 1 release"),
        HoldReason.APPROVAL,
    ),
    HeldRow(
        PlannedRow("row1:" + "b2" * 32, "storage/raw-data", RowAction.UPDATE,
                   (RowCause.GIT, RowCause.DRIFT), summary="change region"),
        HoldReason.APPROVAL,
    ),
    HeldRow(
        PlannedRow("row1:" + "c3" * 32, "max_deletes", RowAction.GUARD,
                   needs=("storage/old",), summary="2 deletes, at most 1"),
        HoldReason.GUARD,
        "at most 1 delete",
    ),
    HeldRow(
        PlannedRow("row1:" + "d4" * 32, "release/yolo-2", RowAction.CREATE, (RowCause.GIT,),
                   needs=("plugin/yolo",), summary="create release 2"),
        HoldReason.DEPENDENCY,
        "it depends on plugin/yolo, which is not applied",
    ),
    HeldRow(
        PlannedRow("row1:" + "e5" * 32, "policy:no-friday", RowAction.GUARD, summary="no Fridays"),
        HoldReason.GUARD,
    ),
)  # fmt: skip
DIGESTS = tuple(held.row.digest for held in HELD)
REPORT = """{"outcomes": [
  {"address": "plugin/yolo", "action": "create", "result": "done", "id": "412",
   "request_id": "req-done-1"},
  {"address": "storage/raw-data", "action": "update", "result": "failed", "id": null,
   "request_id": "req-failed-2"}],
 "diagnostics": [{"severity": "error", "summary": "Refused", "detail": "409 of the server",
   "hint": "Try again.", "address": "storage/raw-data"}]}"""


def list_proxy_headers(user: str, groups: str = "") -> dict[str, str]:
    """What the proxy sends for somebody."""
    return {"X-User": user, "X-Groups": groups, "X-Proxy-Secret": PROXY_SECRET}


SRE = list_proxy_headers("ann", "staff, sre")


def build_holds(
    held_rows: Sequence[HeldRow] = HELD, name: TargetName = STAGING
) -> Sequence[HoldRow]:
    """Rows of a target that wait, in this order."""
    run = samples.build_run(11, name, RunOutcome.CHANGES)
    return [
        HoldRow(
            name, held.row.digest, held, samples.HEAD_COMMIT, run.id, samples.NOW - 3600, number
        )
        for number, held in enumerate(held_rows)
    ]


def build_approval(
    number: int, who: str, digest: str = DIGESTS[0], age: float = 600.0
) -> ApprovalRow:
    row = next(held.row for held in HELD if held.row.digest == digest)
    when = samples.NOW - age
    return ApprovalRow(f"a{number}", STAGING, digest, row, who, when, groups=("sre",))


def fill_held(store: ControllerStore) -> None:
    """The few targets, of which acme/staging waits for people; a pause, an apply, an audit."""
    samples.fill_few(store)
    target = store.find_target(STAGING)
    assert target is not None
    applied = samples.build_run(
        10, STAGING, RunOutcome.APPLY_FAILED, verb=RunVerb.APPLY, cause=RunCause.APPROVED,
        calls=CallCounts(1, 1, 0, 3), approved_by=("proxy:ann", "token:ops"),
        stop_reason="paused by proxy:ann", report_json=REPORT,
    )  # fmt: skip
    with store.write() as writer:
        writer.put(
            replace(target, state=TargetCondition.HELD, mode=Mode.APPROVE, hold_count=len(HELD),
                    held_guard_count=sum(h.row.action is RowAction.GUARD for h in HELD),
                    waiting_reason="")
        )  # fmt: skip
        writer.replace_holds(STAGING, build_holds())
        writer.put_approval(build_approval(1, "proxy:lee"))
        writer.put_approval(build_approval(2, "proxy:mina"))
        writer.put_approval(build_approval(3, "token:ops", DIGESTS[1], 8 * samples.DAY))
        writer.put_pause(
            PauseRow("vision/*", "proxy:ann", "waits for the data team", samples.NOW - 60,
                     samples.NOW + samples.HOUR)
        )  # fmt: skip
        writer.put(applied)
        for who, action, subject in (
            ("controller:platform", "start", "controller:platform"),
            ("proxy:ann", "pause", "vision/*"),
            ("proxy:lee", "approve", "acme/staging"),
            ("token:ops", "reconcile", "vision/lab"),
        ):
            writer.append_audit(samples.NOW, who, action, subject, f"detail of {subject}")
