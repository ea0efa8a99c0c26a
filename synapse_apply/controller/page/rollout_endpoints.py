"""Which paths show rollouts, as pages and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from synapse_apply.controller import api_types as types
from synapse_apply.controller import verbs
from synapse_apply.controller.loop.driver import ControllerLoop
from synapse_apply.controller.page import addresses
from synapse_apply.controller.page.answers import AnswerMaker
from synapse_apply.controller.page.api import (
    BadQueryError,
    format_safe_json,
    parse_limit,
    parse_whole_number,
    write_document,
    write_object,
)
from synapse_apply.controller.page.readable_store import RestrictedStore
from synapse_apply.controller.page.receiving import JSON_TYPE, read_own_notice
from synapse_apply.controller.page.requests import can_approve_each_target
from synapse_apply.controller.page.rollout_views import (
    RolloutView,
    TargetCell,
    TargetListQuery,
    WaveView,
    build_target_list_page,
    filter_and_sort_cells,
    list_rollout_summaries,
    read_rollout_view,
)
from synapse_apply.controller.page.visitor import (
    API_PREFIX,
    Doorkeeper,
    RequestRefused,
    Visitor,
)
from synapse_apply.controller.rows import RolloutRow, RolloutTargetRow
from synapse_apply.controller.rules.rollouts import MemberState
from synapse_apply.controller.settings import Controller
from synapse_apply.controller.verbs import Subject, Verb
from synapse_apply.model.json_types import JsonDocument


class RolloutEndpoints:
    """The endpoints that show rollouts."""

    def __init__(
        self,
        loop: ControllerLoop,
        doorkeeper: Doorkeeper,
        answers: AnswerMaker,
    ) -> None:
        self._loop = loop
        self._doorkeeper = doorkeeper
        self._answers = answers

    def list_routes(self) -> list[Route]:
        return [
            Route("/rollouts", self.show_rollouts),
            Route("/rollouts/{rollout}", self.show_rollout),
            Route(f"{API_PREFIX}rollouts", self.send_rollouts),
            Route(f"{API_PREFIX}rollouts/{{rollout}}", self.send_rollout),
        ]

    def show_rollouts(self, request: Request) -> Response:
        visitor = self._doorkeeper.admit_visitor(request)
        summaries = list_rollout_summaries(visitor.store, self._loop.get_settings())
        return self._answers.render_page(
            "rollouts.html", visitor, section="rollouts", summaries=summaries
        )

    def show_rollout(self, request: Request) -> Response:
        visitor = self._doorkeeper.admit_visitor(request)
        view = self._read_view(visitor, request)
        parameters = request.query_params
        return self._answers.render_page(
            "rollout.html",
            visitor,
            section="rollouts",
            view=view,
            target_list=build_target_list_page(
                view, TargetListQuery.from_parameters_leniently(parameters)
            ),
            forms=read_rollout_forms(
                visitor, view, read_own_notice(verbs.OF_ROLLOUTS, visitor, request)
            ),
        )

    def send_rollouts(self, request: Request) -> Response:
        """The RolloutList of the API."""
        visitor = self._doorkeeper.admit_visitor(request)
        document = list_rollouts_as_json(visitor.store, self._loop.get_settings())
        return Response(format_safe_json(document), media_type=JSON_TYPE)

    def send_rollout(self, request: Request) -> Response:
        """The Rollout of the API."""
        visitor = self._doorkeeper.admit_visitor(request)
        view = self._read_view(visitor, request)
        try:
            document = rollout_and_targets_json(view, request.query_params)
        except BadQueryError as error:
            raise HTTPException(HTTPStatus.BAD_REQUEST, f"{error}.") from None
        return Response(format_safe_json(document), media_type=JSON_TYPE)

    def _read_view(self, visitor: Visitor, request: Request) -> RolloutView:
        name = request.path_params["rollout"]
        view = read_rollout_view(visitor.store, name, self._loop.get_settings())
        if view is None:
            raise RequestRefused.from_words(
                HTTPStatus.NOT_FOUND,
                "Nothing is known by this name",
                f"There is no rollout {name} that you may read.",
            )
        return view


class RolloutForms(NamedTuple):
    """Which forms a reader of a rollout's page has.

    `notice` says what they have just done, "" for nothing.
    """

    verbs: frozenset[Verb]
    notice: str


def read_rollout_forms(visitor: Visitor, view: RolloutView, notice: str) -> RolloutForms | None:
    """The forms for what can be done now, and its reader may; `notice` as in RolloutForms.

    None for a rollout that has not begun.
    """
    row = view.summary.row
    if row is None:
        return None
    possible = [verb for verb in verbs.OF_ROLLOUTS if visitor.person and row.state in verb.states]
    members = _all_targets(visitor, view, row) if possible else ()
    of_wave = [member for member in members if member.wave == row.wave]
    is_of_all = can_approve_each_target(visitor, members)
    is_of_wave = bool(of_wave) and (is_of_all or can_approve_each_target(visitor, of_wave))
    allowed = [
        verb for verb in possible if (is_of_wave if verb.subject is Subject.WAVE else is_of_all)
    ]
    return RolloutForms(frozenset(allowed), notice)


def _all_targets(
    visitor: Visitor, view: RolloutView, row: RolloutRow
) -> Sequence[RolloutTargetRow]:
    """The targets of a rollout, also those that its reader may not see."""
    if view.is_whole:  # thousands were read a moment ago
        return [cell.row for cell in view.cells]
    return visitor.whole_store.list_rollout_targets(row.name)


_STATE_OF_NOT_BEGUN = "not begun"


def list_rollouts_as_json(store: RestrictedStore, settings: Controller) -> JsonDocument:
    """A RolloutList: each rollout with its waves, those that need a person first."""
    names = [summary.name for summary in list_rollout_summaries(store, settings)]
    views = [read_rollout_view(store, name, settings) for name in names]
    items = [rollout_to_json(view) for view in views if view]
    return write_document(types.RolloutList, items=items)


def rollout_and_targets_json(view: RolloutView, parameters: Mapping[str, str]) -> JsonDocument:
    """A Rollout with some of its targets. Parameters: wave, state, offset, limit. BadQueryError."""
    state = parameters.get("state", "")
    words = [member_state.value for member_state in MemberState]
    if state and state not in words:
        raise BadQueryError(f"state is one of: {', '.join(words)}")
    wave = parse_whole_number(parameters, "wave", 0)
    offset, limit = (parse_whole_number(parameters, "offset", 0), parse_limit(parameters))
    cells = filter_and_sort_cells(view, wave, state)
    return write_document(
        types.Rollout,
        **rollout_to_json(view),
        items=[_target_cell_to_json(cell) for cell in cells[offset : offset + limit]],
        total=len(cells),
        offset=offset,
    )


def rollout_to_json(view: RolloutView) -> JsonDocument:
    """A rollout as the API shows it, without its targets."""
    summary, row = view.summary, view.summary.row
    waves = summary.settings.waves if summary.settings else ()
    return write_object(
        types.ListedRollout,
        row,
        name=summary.name,
        source=summary.source,
        state=row.state if row else _STATE_OF_NOT_BEGUN,
        needs_person=summary.needs_person,
        subject=summary.revision.subject if summary.revision else "",
        wave_count=row.wave_count if row else len(waves),
        description=view.description,
        waiting_head=view.waiting_head,
        waves=[_wave_to_json(wave) for wave in view.waves],
        path=addresses.build_rollout_path(summary.name),
    )


def _wave_to_json(wave: WaveView) -> JsonDocument:
    settings, commits = wave.settings, Counter(cell.commit for cell in wave.cells)
    names = ("targets", "labels", "soak", "max_parallel", "max_failures", "approve")
    return write_object(
        types.Wave,
        wave.row,
        wave=wave.number,
        state=wave.phase,
        **{name: getattr(settings, name) if settings else None for name in names},
        target_count=len(wave.cells),
        failed_count=wave.failed_count,
        target_states={state.value: count for state, count in wave.counts.items()},
        revisions=[
            write_object(types.Share, commit=commit, target_count=count)
            for commit, count in commits.most_common()
        ],
    )


def _target_cell_to_json(cell: TargetCell) -> JsonDocument:
    row = cell.row
    if not cell.has_revision:  # what an older revision has shown is no matter of this one
        row = RolloutTargetRow(row.target, row.rollout, row.wave, row.number, row.commit, "")
    return write_object(
        types.RolloutTarget,
        row,
        state=cell.state,
        commit=cell.commit,
        waiting_reason=cell.waiting_reason,
        soak_end=cell.soak_end,
        path=addresses.build_target_path(row.target),
    )
