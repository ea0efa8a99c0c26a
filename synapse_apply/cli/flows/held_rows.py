"""Which rows that wait for a person a command is about: shown and asked for, or named by digest."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from synapse_apply.cli.console import Console
from synapse_apply.model.errors import InputError, NotApproved, Refused, Stale
from synapse_apply.model.frozen import frozen

if TYPE_CHECKING:
    from synapse_apply.cli.texts.controller_rows import ShownFields
    from synapse_apply.controller.remote.answers import ShownRow
    from synapse_apply.controller.remote.controller_api import ControllerApi


@frozen
class RowDecision:
    """What is decided of rows. `only_approvable` leaves out those that nobody can approve."""

    verb: str
    only_approvable: bool = False


def choose_rows_by_target(
    console: Console,
    api: ControllerApi,
    pattern: str,
    row_digests: Sequence[str],
    decision: RowDecision,
) -> dict[str, list[ShownRow]]:
    """The rows that somebody decides on: those with these digests, else all, after a question.

    Of the targets that match a pattern only the rows that say that they mean another backend.

    None, with a line that says so, where there is nothing to decide. Raises Stale for a digest that
    does not wait any more, Refused for one that nobody can approve, InputError where nobody can be
    asked, NotApproved where the answer is no.
    """
    from synapse_apply.cli.texts.controller_rows import format_held_rows
    from synapse_apply.controller.rules.bindings import BINDING_GUARD

    names = api.names_matching(pattern)
    rows_by_target = {
        name: [r for r in api.list_held_rows(name) if name == pattern or r.address == BINDING_GUARD]
        for name in names
    }
    rows = [row for of_target in rows_by_target.values() for row in of_target]
    if row_digests:
        chosen = _select_rows(rows, pattern, row_digests, decision)
    else:
        chosen = [row for row in rows if row.can_be_approved or not decision.only_approvable]
        shown = {name: some for name, some in rows_by_target.items() if some} or {pattern: []}
        for name, some in shown.items():
            fields = _planned_fields(api, some)
            console.write_output(format_held_rows(name, api.url, some, fields))
        if chosen:
            _ask_and_require_yes(console, pattern, chosen, decision)
    by_target = {name: [r for r in some if r in chosen] for name, some in rows_by_target.items()}
    return {name: some for name, some in by_target.items() if some}


def _planned_fields(api: ControllerApi, rows: Sequence[ShownRow]) -> ShownFields:
    """What the plans that held the rows say of their fields; nothing of one that is too large."""
    from synapse_apply.controller.remote.controller_api import ControllerUnavailable

    fields: ShownFields = {}
    for run in {row.run for row in rows if row.run}:
        with suppress(ControllerUnavailable):
            fields[run] = api.read_planned_fields(run)
    return fields


def _select_rows(
    rows: Sequence[ShownRow], target: str, row_digests: Sequence[str], decision: RowDecision
) -> list[ShownRow]:
    rows_by_digest = {row.digest: row for row in rows}
    gone_digests = [digest for digest in row_digests if digest not in rows_by_digest]
    if gone_digests:
        raise Stale.from_summary(
            "A row does not wait any more",
            f"{target} has no waiting row {', '.join(gone_digests)}: it is done, or differs now.",
            f"See what waits now, and {decision.verb} that.",
        )
    named_rows = [rows_by_digest[digest] for digest in dict.fromkeys(row_digests)]
    fixed_rows = [row for row in named_rows if not row.can_be_approved]
    if decision.only_approvable and fixed_rows:
        names = ", ".join(row.address for row in fixed_rows)
        raise Refused.from_summary(
            "A row cannot be approved",
            f"{names}: it waits for another row, or a policy stops it.",
            "Approve what it waits for, or change what is declared.",
        )
    return named_rows


def _ask_and_require_yes(
    console: Console, target: str, rows: Sequence[ShownRow], decision: RowDecision
) -> None:
    from synapse_apply.cli.flows.approval import ask_approval
    from synapse_apply.model.phrases import format_count_and_noun
    from synapse_apply.views.sanitize import sanitize

    if not console.is_interactive:
        raise InputError.from_summary(
            "Nobody can be asked: not a terminal",
            f"`{decision.verb}` needs the digest of each row where there is no terminal to ask on.",
            "Add --row DIGEST for each row that you have seen.",
        )
    count = format_count_and_noun(len(rows), "row")
    question = sanitize(f"{decision.verb.capitalize()} {count} of {target}?")
    if not ask_approval(console, question, "Those with a digest, as they are shown above."):
        raise NotApproved.from_summary(
            f"Nothing was {_PAST[decision.verb]}", "The answer was not `yes`."
        )


_PAST = {"approve": "approved", "reject": "rejected"}
