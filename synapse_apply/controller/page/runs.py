"""What the pages of a target, a run and a revision show, and what a target's offers to send."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase

from markupsafe import Markup

from synapse_apply.controller.loop.driver import ControllerLoop
from synapse_apply.controller.page.phrases import mark_escaped_html
from synapse_apply.controller.page.readable_store import ReadableStore
from synapse_apply.controller.page.run_documents import (
    PlanPart,
    ReportedCall,
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
    PauseRow,
    RevisionRow,
    RunOutcome,
    RunRow,
    StatusRow,
    TargetName,
    TargetRow,
)
from synapse_apply.controller.rules.access import (
    ApprovalCount,
    add_approved_rows,
    count_approvals_of_row,
    is_approval_stale,
    is_author,
)
from synapse_apply.controller.rules.judging import REJECTED_PHRASE
from synapse_apply.controller.rules.permits import (
    WindowState,
    compute_window_state,
    is_pause_active,
)
from synapse_apply.controller.rules.revisions import build_status_context
from synapse_apply.controller.rules.targets import find_rule
from synapse_apply.controller.settings import (
    Access,
    Controller,
    FixedPause,
    Mode,
    Right,
    Source,
    TargetRule,
)
from synapse_apply.model.frozen import frozen

SHOWN_RUNS = 30
SHOWN_TARGETS = 100


@frozen
class RunView:
    """A run with its plan as HTML, and of an apply what became of its rows."""

    run: RunRow
    plan: PlanPart
    commit_link: Markup
    revision: RevisionRow | None = None
    calls: Sequence[ReportedCall] = ()

    @property
    def plan_html(self) -> Markup:
        """The plan, "" where there is none that can be shown."""
        return self.plan.html

    @property
    def has_unreadable_plan(self) -> bool:
        return bool(self.run.plan_json and not self.plan_html)


@frozen
class TargetView:
    """The contents of a target's page; `newest` is its newest run, None before the first look."""

    target: TargetRow
    newest: RunView | None
    history: Sequence[RunRow]
    head: str

    @property
    def row_anchors(self) -> Mapping[str, str]:
        """The fragments that lead to the rows of the newest plan, by address."""
        return self.newest.plan.anchors if self.newest else {}

    @property
    def outcomes(self) -> Sequence[RunOutcome]:
        """The outcomes of its runs, oldest first."""
        return [run.outcome for run in reversed(self.history)]


@frozen
class RevisionView:
    """The contents of a revision's page.

    `targets` are the first of the `target_count` that want it, those that need a person first.
    """

    revision: RevisionRow
    targets: Sequence[TargetRow]
    target_count: int
    status: StatusRow | None
    commit_link: Markup
    is_head: bool


def read_target_view_or_none(
    store: ReadableStore, name: TargetName, loop: ControllerLoop
) -> TargetView | None:
    """Read what a target's page shows; None for an unknown target."""
    target = store.find_target_even_if_gone(name)
    if target is None:
        return None
    source = next((row for row in store.list_configured_sources() if row.name == name.source), None)
    return TargetView(
        target,
        read_run_view_or_none(store, target.last_run, loop) if target.last_run else None,
        store.list_newest_runs_without_documents(name, SHOWN_RUNS),
        source.head if source else "",
    )


def read_run_view_or_none(
    store: ReadableStore, run_id: str, loop: ControllerLoop
) -> RunView | None:
    """Read what a run's page shows; None for an unknown run."""
    run = store.find_run(run_id)
    if run is None:
        return None
    source = loop.get_settings().sources.get(run.target.source)
    links = build_forge_links(source, run.commit)
    rule = loop.find_strictest_rule(run.target)
    is_observed = rule is None or rule.mode is Mode.OBSERVE
    return RunView(
        run,
        render_plan_part(run.plan_json, links, has_next_steps=is_observed),
        link_commit(source, run.commit),
        store.find_newest_revision_of_commit(run.target.source, run.commit),
        list_reported_calls(run.report_json),
    )


def read_revision_view(
    store: ReadableStore, source: str, commit: str, settings: Controller
) -> RevisionView | None:
    """Read what a revision's page shows; None for one that never was the head."""
    revision = store.find_newest_revision_of_commit(source, commit)
    if revision is None:
        return None
    page = store.read_page_of_present_targets(
        TargetFilter(source, wanted_commit=commit), 0, SHOWN_TARGETS
    )
    return RevisionView(
        revision,
        page.targets,
        page.matching_count,
        store.find_status(source, commit, build_status_context(settings.name, source)),
        link_commit(settings.sources.get(source), commit),
        is_head=not revision.overtaken_by,
    )


def link_commit(source: Source | None, commit: str) -> Markup:
    """The commit, linked to the forge where that is known; "" for no commit."""
    return mark_escaped_html(build_forge_links(source, commit).render_short_commit(commit))


# The command and the API have the rest.
MAX_SHOWN_HOLDS = 500


@frozen
class ActivePauseView:
    """A pause of a person that holds now; `can_end` says whether the reader may end it."""

    pause: PauseRow
    can_end: bool


@frozen
class TargetForms:
    """What a reader of a target's page is told of people's part in it, and what they may do.

    `held_rows` are the first of `held_count`. `pause_scopes` are the scopes that they may pause,
    with their words; `notice` says what they have just done, "" for nothing.
    """

    rule: TargetRule | None
    rights: frozenset[Right]
    held_rows: Sequence[HeldRowView]
    held_count: int
    pauses: Sequence[ActivePauseView]
    fixed_pause: FixedPause | None
    window: WindowState | None
    pause_scopes: Mapping[str, str]
    worth: str
    notice: str

    @property
    def can_reconcile(self) -> bool:
        return Right.RECONCILE in self.rights

    @property
    def can_pause(self) -> bool:
        return Right.PAUSE in self.rights

    @property
    def can_approve(self) -> bool:
        return Right.APPROVE in self.rights


def read_target_forms(
    loop: ControllerLoop, visitor: Visitor, name: TargetName, notice: str, now: float
) -> TargetForms:
    """What the page of a target shows besides the target; `notice` as in TargetForms."""
    source = loop.get_settings().sources.get(name.source)
    # A pause that another target's rule, or a person, set for it stands there.
    own_rule = find_rule(source, name.target) if source else None
    rule = loop.find_strictest_rule(name)
    rights = visitor.list_rights(name) if visitor.person else frozenset()
    authors = (
        loop.list_authors_of_next_apply_none_if_unreadable(name)
        if rule is not None and rule.not_author
        else ()
    )
    holds = list_decidable_rows(visitor.store, name, now)
    pauses = [
        pause
        for pause in visitor.store.list_people_pauses_even_ended()
        if is_pause_active(pause, now) and fnmatchcase(str(name), pause.scope)
    ]
    return TargetForms(
        rule,
        rights,
        build_held_row_views(
            holds[:MAX_SHOWN_HOLDS],
            visitor.store.list_approvals_even_used_or_expired(name),
            rule,
            now=now,
            access=visitor.access,
            authors=authors,
            identity=visitor.identity,
        ),
        len(holds),
        [
            ActivePauseView(
                pause, can_end=(Right.PAUSE in rights) and visitor.can_pause_scope(pause.scope)
            )
            for pause in pauses
        ],
        _fixed_pause(own_rule, now),
        compute_window_state(rule.windows, now) if rule and rule.windows else None,
        _pausable_scopes(visitor, name) if Right.PAUSE in rights else {},
        own_approval_doubt(rule, authors, visitor.access, visitor.identity),
        notice,
    )


def _fixed_pause(rule: TargetRule | None, now: float) -> FixedPause | None:
    pause = rule.pause if rule else None
    is_active = pause is not None and (pause.until is None or now < pause.until)
    return pause if is_active else None


def _pausable_scopes(visitor: Visitor, name: TargetName) -> Mapping[str, str]:
    scopes = {str(name): "this target"}
    scope = f"{name.source}/*"
    if visitor.can_pause_scope(scope):
        scopes[scope] = f"all targets of {name.source}"
    return scopes


REASON_PHRASES = {
    HoldReason.APPROVAL: "the mode is approve",
    HoldReason.CAUSE: "rows of this cause are for a person",
    HoldReason.ACTION: "this action is for a person",
    HoldReason.GUARD: "a guard stops it",
    HoldReason.DEPENDENCY: "it needs a row that is not done",
    HoldReason.APPROVED: "it has approvals, and is not done yet",
    HoldReason.APPLYING: "it is being applied",
}
GUARD_PHRASE = "this guard stops the plan"
POLICY_PHRASE = "a policy stops the plan: nobody can approve it here"


@frozen
class HeldRowView:
    """A row that waits, and why. `approvals` are all of it, newest first."""

    hold: HoldRow
    count: ApprovalCount
    reason: str
    approvals: Sequence[ApprovalRow] = ()
    stricter_by: str = ""
    is_approved_by_visitor: bool = False


def list_decidable_rows(store: ReadableStore, name: TargetName, now: float) -> list[HoldRow]:
    """The rows of a target that wait for a person, and approved ones that are not done yet."""
    approvals = store.list_approvals_even_used_or_expired(name)
    target = store.find_target_even_if_gone(name)
    return add_approved_rows(store.list_holds(name), approvals, now, target)


def build_held_row_views(
    holds: Sequence[HoldRow],
    approvals: Sequence[ApprovalRow],
    rule: TargetRule | None,
    *,
    now: float,
    access: Access | None,
    authors: Collection[str] | None,
    identity: str = "",
) -> Sequence[HeldRowView]:
    """Rows of a target that wait, in their order, with what its `approvals` are worth.

    `authors` are those of the commits that would be applied, None where nobody can tell; `identity`
    is whose page it is.
    """
    of_digest: dict[str, list[ApprovalRow]] = {}
    for approval in approvals:
        of_digest.setdefault(approval.row_digest, []).append(approval)
    own_rule = rule or TargetRule("*")
    return [
        _build_held_row_view(
            hold, of_digest.get(hold.row_digest, ()), own_rule, now, access, authors, identity
        )
        for hold in holds
    ]


def _build_held_row_view(
    hold: HoldRow,
    of_row: Sequence[ApprovalRow],
    rule: TargetRule,
    now: float,
    access: Access | None,
    authors: Collection[str] | None,
    identity: str,
) -> HeldRowView:
    count = count_approvals_of_row(
        rule, of_row, hold.row_digest, now=now, access=access, authors=authors or ()
    )
    own = [
        approval
        for approval in of_row
        if approval.who == identity
        and not approval.used_at
        and not is_approval_stale(approval, now)
    ]
    return HeldRowView(
        hold,
        count,
        describe_hold_reason(hold),
        of_row,
        rule.stricter_by,
        is_approved_by_visitor=bool(own),
    )


def describe_hold_reason(hold: HoldRow) -> str:
    """Why a row waits, as a phrase."""
    held_row = hold.held_row
    phrase = REASON_PHRASES[held_row.reason]
    if held_row.row.action is RowAction.GUARD and held_row.reason is not HoldReason.APPLYING:
        phrase = GUARD_PHRASE if held_row.can_be_approved else POLICY_PHRASE
    elif hold.rejected_by:
        return REJECTED_PHRASE
    return f"{phrase}: {held_row.detail}" if held_row.detail else phrase


def own_approval_doubt(
    rule: TargetRule | None, authors: Collection[str] | None, access: Access | None, identity: str
) -> str:
    """A sentence for a reader whose approval may not count; "" for another one."""
    if rule is None or not rule.not_author:
        return ""
    if authors is None:
        return "Who wrote the commits is not known now: an approval may not count."
    if identity and is_author(access, identity, authors):
        return "You are an author of what would be applied: your approval would not count."
    return ""
