"""What the pages of a target, a run and a revision show, and what a target's offers to send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from markupsafe import Markup

from synapse_apply.controller import verbs
from synapse_apply.controller.loop.deciding import list_rows_to_apply
from synapse_apply.controller.loop.rollbacks import PlannedRollback
from synapse_apply.controller.page.phrases import (
    OUTCOME_PHRASES,
    OUTCOME_TONES,
    mark_escaped_html,
)
from synapse_apply.controller.page.readable_store import list_running_calls
from synapse_apply.controller.page.rollout_views import find_membership, rollouts_of_revision
from synapse_apply.controller.page.run_documents import (
    build_forge_links,
    list_reported_calls,
    render_plan_part,
)
from synapse_apply.controller.page.visitor import Visitor
from synapse_apply.controller.planned_rows import HoldReason, RowAction
from synapse_apply.controller.ports import TargetFilter
from synapse_apply.controller.rows import (
    ApprovalRow,
    HoldRow,
    RevisionRow,
    RunRow,
    RunVerb,
    TargetName,
    TargetRow,
)
from synapse_apply.controller.rules.access import (
    ApprovalCount,
    Person,
    add_approved_rows,
    can_approve,
    count_approvals_of_row,
    is_approval_stale,
    is_author,
    lead_with_irreversible,
)
from synapse_apply.controller.rules.judging import REJECTED_PHRASE
from synapse_apply.controller.rules.permits import compute_window_state, is_pause_active
from synapse_apply.controller.rules.revisions import build_status_context
from synapse_apply.controller.rules.targets import find_rule
from synapse_apply.controller.settings import Mode, Right, Source, TargetRule
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import format_short_list

SHOWN_RUNS = 30
SHOWN_TARGETS = 100
# The command and the API have the rest.
MAX_SHOWN_HOLDS = 500
MAX_SHOWN_FIELDS = 20


def read_target(visitor: Visitor) -> Mapping[str, Any] | None:
    """What a target's page shows; None for an unknown target.

    `newest` is its newest run, None before the first look; `row_anchors` are the fragments that
    lead to the rows of its plan, by address. `activity` says what is done with it now.
    """
    store, name = visitor.store, visitor.target
    target = store.find_target(name)
    if target is None:
        return None
    heads = {row.name: row.head for row in store.list_configured_sources()}
    newest = _run_view(visitor, target.last_run) if target.last_run else None
    history = store.newest_runs(name, SHOWN_RUNS)
    view = {
        "target": target,
        "newest": newest,
        "history": history,
        "labels": store.list_labels().get(name, {}),
        "head": heads.get(name.source, ""),
        "commits": _commits_to_apply(visitor, target),
        "activity": _describe_activity(target, visitor.now),
        "applying": target.begun_apply if target.is_claimed(visitor.now) else None,
        "log": list_running_calls(store, target, visitor.now),
        "row_anchors": newest["row_anchors"] if newest else {},
        # Oldest first.
        "outcomes": [run.outcome for run in reversed(history)],
    }
    membership = find_membership(visitor, name)
    return {"view": view, "forms": _target_forms(visitor, name), "membership": membership}


def _describe_activity(target: TargetRow, now: float) -> str:
    """What the controller does with a target at this moment, or next; "" for nothing."""
    if target.is_claimed(now):
        verb = "applying" if target.begun_apply else "checking"
        return f"The controller is {verb} the target now."
    if target.due_at <= now and not target.is_gone:
        return verbs.RECONCILE.notice
    return ""


def _commits_to_apply(visitor: Visitor, target: TargetRow) -> Mapping[str, Any] | None:
    """The commits from the applied to the wanted one, each with its link; None where it is live."""
    if target.is_gone or target.applied_commit == target.wanted_commit:
        return None
    found = visitor.loop.next_commits(target.name)
    if found is None or not found.newest:
        return None
    source = visitor.settings.sources.get(target.name.source)
    links = [_link_commit(source, head.commit) for head in found.newest]
    return {
        "shown": list(zip(found.newest, links, strict=True)),
        "more": found.total - len(found.newest),
        "signers": found.signers,
    }


def read_run(visitor: Visitor) -> Mapping[str, Any] | None:
    """What a run's page shows; None for an unknown run."""
    view = _run_view(visitor, visitor.request.path_params["run"])
    if view is None:
        return None
    return {"view": view, "timeline": _timeline(visitor, view["run"], view["revision"])}


def _run_view(visitor: Visitor, run_id: str) -> Mapping[str, Any] | None:
    """A run with its plan as HTML, "" for none, and of an apply what became of its rows."""
    run = visitor.store.find_run(run_id)
    if run is None:
        return None
    source = visitor.settings.sources.get(run.target.source)
    rule = visitor.loop.find_strictest_rule(run.target)
    is_observed = rule is None or rule.mode is Mode.OBSERVE
    links = build_forge_links(source, run.commit)
    plan = render_plan_part(run.plan_json, links, has_next_steps=is_observed)
    return {
        "run": run,
        "plan_html": plan.html,
        "row_anchors": plan.anchors,
        "has_unreadable_plan": bool(run.plan_json and not plan.html),
        "commit_link": _link_commit(source, run.commit),
        "revision": visitor.store.find_revision(run.target.source, run.commit),
        "calls": list_reported_calls(run.report_json),
    }


@frozen
class Moment:
    """Something that happened with a revision at a target; texts are "" where there is nothing.

    `seconds` are how long it took, None where it is told as a moment.
    """

    at: float
    event: str
    detail: str
    tone: str = ""
    who: str = ""
    run: str = ""
    seconds: float | None = None

    @property
    def ended_at(self) -> float:
        return self.at + (self.seconds or 0.0)


def _timeline(visitor: Visitor, run: RunRow, revision: RevisionRow | None) -> list[Moment]:
    """From the fetch of a run's commit to its status, oldest first, with the runs beside it."""
    store, moments = visitor.store, list[Moment]()
    if revision is not None:
        moments.append(Moment(revision.seen_at, "Fetch", revision.subject))
    approved: dict[tuple[float, str], list[str]] = {}
    for approval in store.list_approvals(run.target):
        if approval.used_by_run == run.id:
            given = approval.approved_at, approval.who
            approved.setdefault(given, []).append(str(approval.row))
    for (at, who), rows in approved.items():
        moments.append(Moment(at, "Approval", format_short_list(rows), who=who))
    runs = [one for one in store.newest_runs(run.target, SHOWN_RUNS) if one.commit == run.commit]
    own = next((number for number, one in enumerate(runs) if one.id == run.id), None)
    for one in [run] if own is None else runs[max(own - 1, 0) : own + 2]:
        event = "Apply" if one.verb is RunVerb.APPLY else "Check"
        detail, tone = OUTCOME_PHRASES[one.outcome], OUTCOME_TONES[one.outcome]
        seconds = one.ended_at - one.began_at
        moments.append(Moment(one.began_at, event, detail, tone, run=one.id, seconds=seconds))
    context = build_status_context(visitor.settings.name, run.target.source)
    status = store.find_status(run.target.source, run.commit, context)
    if status is not None and status.sent is not None and status.sent_at >= run.began_at:
        sent = status.sent
        moments.append(
            Moment(status.sent_at, "Commit status", f"{sent.state.value}: {sent.description}")
        )
    return sorted(moments, key=lambda moment: moment.at)


def read_revision(visitor: Visitor) -> Mapping[str, Any] | None:
    """What a revision's page shows; None for one that never was the head.

    `targets` are the first of the `target_count` that want it, those that need a person first.
    """
    store, settings = visitor.store, visitor.settings
    source, commit = (visitor.request.path_params[name] for name in ("source", "commit"))
    revision = store.find_revision(source, commit)
    if revision is None:
        return None
    target_filter = TargetFilter(source, wanted_commit=commit)
    page = store.target_page(target_filter, 0, SHOWN_TARGETS)
    view = {
        "revision": revision,
        "targets": page.targets,
        "target_count": page.matching_count,
        "status": store.find_status(source, commit, build_status_context(settings.name, source)),
        "commit_link": _link_commit(settings.sources.get(source), commit),
        "is_head": not revision.overtaken_by,
    }
    return {
        "view": view,
        "rollouts": rollouts_of_revision(visitor, revision),
        "can_roll_back": _targets_to_roll_back(visitor, revision),
    }


def render_planned_rollback(visitor: Visitor, planned: PlannedRollback) -> Markup:
    """The plan of a rollback as HTML, "" while there is none."""
    links = build_forge_links(visitor.settings.sources.get(planned.target.source), planned.commit)
    plan_json = planned.result.plan_json if planned.result is not None else ""
    return render_plan_part(plan_json, links, has_next_steps=False).html


def _targets_to_roll_back(visitor: Visitor, revision: RevisionRow) -> list[TargetName]:
    """The targets that somebody may roll back to a revision, by name; the first of many."""
    if not revision.overtaken_by or revision.forced_away or revision.finding is not None:
        return []
    page = visitor.store.target_page(TargetFilter(revision.source), 0, SHOWN_TARGETS)
    return sorted(
        target.name
        for target in page.targets
        if target.wanted_commit != revision.commit and target.mode is not Mode.OBSERVE
        if visitor.person and Right.APPROVE in visitor.list_rights(target.name)
    )


def _link_commit(source: Source | None, commit: str) -> Markup:
    """The commit, linked to the forge where that is known; "" for no commit."""
    return mark_escaped_html(build_forge_links(source, commit).render_short_commit(commit))


def _target_forms(visitor: Visitor, name: TargetName) -> Mapping[str, Any]:
    """What a reader of a target's page is told of people's part in it, and what they may do.

    `held_rows` are the first of `held_count`. `pauses` are those that people have set and that hold
    now, and whether the reader may end each. `restored` are the first fields that were restored
    often. `pause_scopes` are the scopes that they may pause,
    with their words; `notice` says what they have just done, "" for nothing.
    """
    now, source = visitor.now, visitor.settings.sources.get(name.source)
    # A pause that another target's rule, or a person, set for it stands there.
    own_rule = find_rule(source, name.target) if source else None
    fixed_pause = own_rule.pause if own_rule else None
    if fixed_pause and not (fixed_pause.until is None or now < fixed_pause.until):
        fixed_pause = None
    rights = visitor.list_rights(name) if visitor.person else frozenset()
    can_pause, scopes = Right.PAUSE in rights, {str(name): "this target"}
    if can_pause and visitor.can_pause_scope(f"{name.source}/*"):
        scopes[f"{name.source}/*"] = f"all targets of {name.source}"
    pauses = [
        pause
        for pause in visitor.store.list_pauses()
        if is_pause_active(pause, now) and fnmatchcase(str(name), pause.scope)
    ]
    can_end = can_pause and all(pause.scope != str(name) for pause in pauses)
    target = visitor.store.find_target(name) or TargetRow(name)
    after = visitor.settings.defaults.brake.after
    restored = [one for one in target.restored if one.count >= after or one.is_braked]
    holds, held = list_decidable_rows(visitor, name), HeldRows(visitor, name)
    is_apply = Right.APPROVE in rights and not holds and _is_applied_on_request(target, held.rule)
    if is_apply:
        holds = lead_with_irreversible(list_rows_to_apply(visitor.store, target))
    windows = held.rule.windows if held.rule else ()
    return {
        "rule": held.rule,
        "can_reconcile": Right.RECONCILE in rights,
        "can_pause": can_pause,
        "can_approve": Right.APPROVE in rights,
        "held_rows": held.views(holds[:MAX_SHOWN_HOLDS]),
        "held_count": len(holds),
        "is_apply": is_apply,
        "pauses": [
            {"pause": pause, "can_end": can_pause and visitor.can_pause_scope(pause.scope)}
            for pause in pauses
        ],
        # A pause of this scope would be ended first.
        "can_end_rollback": can_end,
        "restored": restored[:MAX_SHOWN_FIELDS],
        "can_end_brake": can_end
        and target.rollback is None
        and any(one.is_braked for one in restored),
        "fixed_pause": fixed_pause,
        "window": compute_window_state(windows, now) if windows else None,
        "pause_scopes": scopes if can_pause else {},
        "worth": held.doubt_of_own_approval(),
        "notice": visitor.read_own_notice(verbs.OF_TARGETS),
    }


def _is_applied_on_request(target: TargetRow, rule: TargetRule | None) -> bool:
    if rule is None or rule.mode is not Mode.OBSERVE or rule.stricter_by:
        return False
    return not (target.is_gone or target.is_applied_now or target.begun_apply)


REASON_PHRASES = {
    HoldReason.APPROVAL: "in mode approve, every row needs approval",
    HoldReason.CAUSE: "its cause needs approval",
    HoldReason.ACTION: "its action needs approval",
    HoldReason.GUARD: "a guard stops it",
    HoldReason.DEPENDENCY: "a row that it depends on is not applied",
    HoldReason.BRAKE: "it was restored often, and `brake: hold` is set",
    HoldReason.APPROVED: "it is approved, but not applied yet",
    HoldReason.APPLYING: "the controller is applying it",
}
GUARD_PHRASE = "the guard stops the plan"
POLICY_PHRASE = "a policy stops the plan, and nobody can approve it here"


@frozen
class HeldRowView:
    """A row that waits, and why. `approvals` are all of it, newest first."""

    hold: HoldRow
    count: ApprovalCount
    reason: str
    approvals: Sequence[ApprovalRow] = ()
    stricter_by: str = ""
    is_approved_by_visitor: bool = False
    is_visitors: bool = True

    @property
    def is_guard(self) -> bool:
        return self.hold.held_row.row.action is RowAction.GUARD


def list_decidable_rows(visitor: Visitor, name: TargetName) -> list[HoldRow]:
    """The rows of a target that wait for a person, and approved ones that are not done yet."""
    store = visitor.store
    approvals = store.list_approvals(name)
    target = store.find_target(name)
    rows = add_approved_rows(store.list_holds(name), approvals, visitor.now, target)
    return lead_with_irreversible(rows, target.running_jobs.jobs if target else ())


class HeldRows:
    """What somebody is told of the rows of a target that wait; `rule` is None where none holds."""

    def __init__(self, visitor: Visitor, name: TargetName) -> None:
        self._visitor = visitor
        self._name = name
        self.rule = visitor.loop.find_strictest_rule(name)
        # Of the commits that would be applied, None where nobody can tell.
        self._authors: tuple[str, ...] | None = ()
        if self.rule is not None and self.rule.not_author:
            self._authors = visitor.loop.next_authors(name)

    def views(self, holds: Sequence[HoldRow]) -> Sequence[HeldRowView]:
        """Rows of the target, in their order, with what their approvals are worth."""
        visitor, rule = self._visitor, self.rule or TargetRule("*")
        of_digest: dict[str, list[ApprovalRow]] = {}
        for approval in visitor.store.list_approvals(self._name):
            of_digest.setdefault(approval.row_digest, []).append(approval)
        views = []
        for hold in holds:
            of_row = of_digest.get(hold.row_digest, ())
            count = count_approvals_of_row(
                rule,
                of_row,
                hold.held_row.row,
                now=visitor.now,
                access=visitor.settings.access,
                authors=self._authors or (),
            )
            is_approved = any(
                approval.who == visitor.identity
                and not approval.used_at
                and not is_approval_stale(approval, visitor.now)
                for approval in of_row
            )
            reason = describe_hold_reason(hold)
            person = visitor.person or Person("")
            is_visitors = can_approve(rule, hold.held_row.row, person)
            views.append(
                HeldRowView(hold, count, reason, of_row, rule.stricter_by, is_approved, is_visitors)
            )
        return views

    def doubt_of_own_approval(self) -> str:
        """A sentence for a reader whose approval may not count; "" for another one."""
        if self.rule is None or not self.rule.not_author:
            return ""
        if self._authors is None:
            return (
                "The controller does not know the authors of the commits now: your approval "
                "may not count."
            )
        who, access = self._visitor.identity, self._visitor.settings.access
        if who and is_author(access, who, self._authors):
            return "You are an author of these commits: your approval would not count."
        return ""


def describe_hold_reason(hold: HoldRow) -> str:
    """Why a row waits, as a phrase."""
    held_row = hold.held_row
    if held_row.row.action is RowAction.GUARD and held_row.reason is not HoldReason.APPLYING:
        return GUARD_PHRASE if held_row.can_be_approved else POLICY_PHRASE
    if hold.rejected_by:
        return REJECTED_PHRASE
    return held_row.detail or REASON_PHRASES[held_row.reason]
