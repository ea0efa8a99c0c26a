"""What people decide and have done: held rows, pauses and the audit, as JSON and as a page."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from http import HTTPStatus
from itertools import groupby

from synapse_apply.controller import api_types as types
from synapse_apply.controller.loop.driver import ControllerLoop
from synapse_apply.controller.page.addresses import build_audit_path
from synapse_apply.controller.page.api import (
    MAX_ITEMS,
    parse_limit,
    parse_target,
    parse_whole_number,
    write_document,
    write_object,
)
from synapse_apply.controller.page.readable_store import ReadableStore, iter_present_targets
from synapse_apply.controller.page.runs import (
    HeldRowView,
    build_held_row_views,
    list_decidable_rows,
)
from synapse_apply.controller.page.visitor import RequestRefused, Visitor
from synapse_apply.controller.ports import AuditFilter, TargetFilter
from synapse_apply.controller.rows import AuditRow, HoldRow, TargetCondition, TargetName
from synapse_apply.controller.rules.access import APPROVAL_SECONDS
from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_types import JsonDocument

_CONDITIONS_WITHOUT_HOLDS = {TargetCondition.IN_SYNC, TargetCondition.NOT_LOOKED_AT}


def list_holds_as_json(
    visitor: Visitor, loop: ControllerLoop, parameters: Mapping[str, str], now: float
) -> JsonDocument:
    """A HoldList, of one target or of all. Parameters: target, offset, limit. BadQueryError."""
    name = parse_target(parameters)
    offset, limit = (
        parse_whole_number(parameters, "offset", 0),
        parse_limit(parameters, MAX_ITEMS),
    )
    if name is not None and visitor.store.find_target_even_if_gone(name) is None:
        raise RequestRefused.from_words(
            HTTPStatus.NOT_FOUND, "Nothing is known by this name", f"There is no target {name}."
        )
    names = [name] if name is not None else _held_names(visitor.store)
    holds = [hold for target in names for hold in list_decidable_rows(visitor.store, target, now)]
    items = [
        _hold_to_json(target, view)
        for target, of_target in groupby(holds[offset : offset + limit], lambda hold: hold.target)
        for view in _held_views(visitor.store, loop, target, [*of_target], now)
    ]
    return write_document(types.HoldList, items=items, total=len(holds), offset=offset)


def pauses_as_json(
    visitor: Visitor, _loop: ControllerLoop, parameters: Mapping[str, str], now: float
) -> JsonDocument:
    """A PauseList of the pauses that people have set and that hold now. Parameter: limit."""
    limit = parse_limit(parameters, MAX_ITEMS)
    pauses = [pause for pause in visitor.store.list_people_pauses_even_ended() if now < pause.until]
    return write_document(types.PauseList, items=pauses[:limit])


def audit_as_json(
    visitor: Visitor, _loop: ControllerLoop, parameters: Mapping[str, str], _now: float
) -> JsonDocument:
    """An AuditList, newest first; with `after` oldest first. Parameters: who, q, after, limit.

    Only for who may read every target: a chain with gaps proves nothing.
    """
    if not visitor.store.can_read_everything:
        raise RequestRefused.from_words(
            HTTPStatus.FORBIDDEN,
            "No right to do this",
            "The whole audit is for who may read every target.",
        )
    after = parse_whole_number(parameters, "after", 0) if "after" in parameters else None
    audit_filter = AuditFilter(parameters.get("who", ""), parameters.get("q", ""), after=after)
    rows = visitor.store.list_audit_newest_first_unless_after(parse_limit(parameters), audit_filter)
    return write_document(types.AuditList, items=rows)


def _held_names(store: ReadableStore) -> Iterator[TargetName]:
    for condition in TargetCondition:
        if condition in _CONDITIONS_WITHOUT_HOLDS:
            continue
        targets = iter_present_targets(store, TargetFilter(state=condition))
        # Before their rows are read: pages are of one moment as far as possible.
        yield from [target.name for target in targets if target.hold_count]


def _held_views(
    store: ReadableStore,
    loop: ControllerLoop,
    name: TargetName,
    holds: Sequence[HoldRow],
    now: float,
) -> Sequence[HeldRowView]:
    rule = loop.find_strictest_rule(name)
    authors: Collection[str] | None = ()
    if rule is not None and rule.not_author:
        authors = loop.list_authors_of_next_apply_none_if_unreadable(name)
    approvals = store.list_approvals_even_used_or_expired(name)
    return build_held_row_views(
        holds, approvals, rule, now=now, access=loop.get_settings().access, authors=authors
    )


def _hold_to_json(name: TargetName, view: HeldRowView) -> JsonDocument:
    hold, count = view.hold, view.count
    left_out = {approval.who: approval.reason for approval in count.left_out}
    return write_object(
        types.Hold,
        hold.held_row.row,
        target=name,
        digest=hold.row_digest,
        reason=hold.held_row.reason,
        detail=hold.held_row.detail,
        can_be_approved=hold.held_row.can_be_approved,
        approvals_needed=count.needed_count,
        stricter_by=view.stricter_by,
        approved_by=count.who_counts,
        approvals=[
            write_object(
                types.Approval,
                approval,
                expires_at=approval.approved_at + APPROVAL_SECONDS,
                counts=approval.who in count.who_counts,
                reason=left_out.get(approval.who, ""),
            )
            for approval in view.approvals
        ],
        rejected_by=hold.rejected_by,
        rejected_reason=hold.rejected_reason,
        since=hold.since,
        commit=hold.commit,
        run=hold.run,
    )


ROWS_PER_PAGE = 100
_MAX_FILTER_LENGTH = 200
_MAX_DIGITS = 15


@frozen
class AuditQuery:
    """What of the audit an address asks for; `before` is the number below which rows are."""

    who: str = ""
    text: str = ""
    before: int | None = None

    @classmethod
    def from_parameters_leniently(cls, parameters: Mapping[str, str]) -> AuditQuery:
        """The query of an address; what makes no sense there is as if it were left out."""
        before = parameters.get("before", "")
        is_number = before.isascii() and before.isdigit() and len(before) <= _MAX_DIGITS
        return cls(
            parameters.get("who", "").strip()[:_MAX_FILTER_LENGTH],
            parameters.get("q", "").strip()[:_MAX_FILTER_LENGTH],
            int(before) if is_number else None,
        )

    @property
    def has_filter(self) -> bool:
        return bool(self.who or self.text)

    def build_path(self, *, before: int | None = None) -> str:
        """The address of the rows below a number, or of the newest."""
        number = "" if before is None else str(before)
        return build_audit_path({"who": self.who, "q": self.text, "before": number})


@frozen
class AuditView:
    """The rows of one page, newest first, and whether older ones follow."""

    query: AuditQuery
    rows: Sequence[AuditRow]
    has_older: bool

    @property
    def path_to_older(self) -> str:
        return self.query.build_path(before=self.rows[-1].number)


def read_audit_view(store: ReadableStore, query: AuditQuery) -> AuditView:
    """Read one page of the audit."""
    rows = store.list_audit_newest_first_unless_after(
        ROWS_PER_PAGE + 1, AuditFilter(query.who, query.text, before=query.before)
    )
    return AuditView(query, rows[:ROWS_PER_PAGE], len(rows) > ROWS_PER_PAGE)
