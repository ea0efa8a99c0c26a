"""What the pages of a target, a run and a revision show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from synapse_apply.controller.page.markup import mark_escaped_html
from synapse_apply.controller.page.plan_part import PlanPart, build_forge_links, render_plan_part
from synapse_apply.controller.page.report_part import ReportedCall, list_reported_calls
from synapse_apply.controller.rows import (
    RevisionRow,
    RunOutcome,
    RunRow,
    StatusRow,
    TargetName,
    TargetRow,
)
from synapse_apply.controller.rules.revisions import build_status_context
from synapse_apply.controller.rules.targets import find_rule
from synapse_apply.controller.settings import Controller, Mode, Source
from synapse_apply.controller.store_ports import ReadableStore, TargetFilter
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
    store: ReadableStore, name: TargetName, settings: Controller
) -> TargetView | None:
    """Read what a target's page shows; None for an unknown target."""
    target = store.find_target_even_if_gone(name)
    if target is None:
        return None
    source = next((row for row in store.list_configured_sources() if row.name == name.source), None)
    return TargetView(
        target,
        read_run_view_or_none(store, target.last_run, settings) if target.last_run else None,
        store.list_newest_runs_without_documents(name, SHOWN_RUNS),
        source.head if source else "",
    )


def read_run_view_or_none(
    store: ReadableStore, run_id: str, settings: Controller
) -> RunView | None:
    """Read what a run's page shows; None for an unknown run."""
    run = store.find_run(run_id)
    if run is None:
        return None
    source = settings.sources.get(run.target.source)
    links = build_forge_links(source, run.commit)
    rule = find_rule(source, run.target.target) if source else None
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
