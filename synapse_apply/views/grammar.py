"""Which words, symbols and units reports use for actions, counts, sizes and durations."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime

from synapse_apply.model.plan import Action, PlanSummary
from synapse_apply.model.project import MovedAddress
from synapse_apply.model.state import DIRTY_SUFFIX
from synapse_apply.views.sanitize import sanitize

ACTION_SYMBOLS = {
    Action.CREATE: "+",
    Action.RECREATE: "+",
    Action.ADOPT: "~",
    Action.UPDATE: "~",
    Action.DELETE: "-",
    Action.FORGET: ".",
    Action.NO_OP: " ",
}
PLANNED_PHRASES = {
    Action.CREATE: "will be created",
    Action.RECREATE: "will be recreated (the object is missing)",
    Action.ADOPT: "will be imported",
    Action.UPDATE: "will be updated in-place",
    Action.DELETE: "will be destroyed",
    Action.FORGET: "will be forgotten",
    Action.NO_OP: "is unchanged",
}
PAST_PARTICIPLES = {
    Action.CREATE: "created",
    Action.RECREATE: "recreated",
    Action.ADOPT: "imported",
    Action.UPDATE: "updated",
    Action.DELETE: "destroyed",
    Action.FORGET: "forgotten",
    Action.NO_OP: "checked",
}


def format_refusal_phrase(action: Action) -> str:
    """The phrase of a refused row, such as `cannot be destroyed`."""
    return f"cannot be {'applied' if action is Action.NO_OP else PAST_PARTICIPLES[action]}"


def format_plan_line(summary: PlanSummary) -> str:
    """The `Plan:` line; tools that parse Terraform's output rely on the order of its words."""
    import_ = f"{summary.import_} to import, " if summary.import_ else ""
    forget = f", {summary.forget} to forget" if summary.forget else ""
    return (
        f"Plan: {import_}{summary.add} to add, {summary.change} to change, "
        f"{summary.destroy} to destroy{forget}."
    )


def format_moved_lines(moves: Iterable[MovedAddress]) -> list[str]:
    """One comment line for each move, as Terraform writes it."""
    return [f"  # {sanitize(move.old)} has moved to {sanitize(move.new)}" for move in moves]


def format_byte_size(count: int) -> str:
    """A number of bytes in binary units, such as `512 B` or `2.1 MiB`."""
    size, unit = float(min(count, 1 << 90)), "B"  # a file may claim any number
    for larger in ("KiB", "MiB", "GiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def format_duration(seconds: float) -> str:
    """A duration in seconds as text, such as `0.4s`, `12s` or `3m05s`."""
    # From 9.95 on, one decimal would round to `10.0s`.
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f}s"
    rounded_seconds = round(seconds)
    return (
        f"{rounded_seconds}s"
        if rounded_seconds < 60
        else f"{rounded_seconds // 60}m{rounded_seconds % 60:02d}s"
    )


def shorten_commit_and_suffix(commit: str) -> str:
    """The first 12 digits of a commit, with the suffix of a dirty checkout if it has one."""
    dirty_suffix = DIRTY_SUFFIX if commit.endswith(DIRTY_SUFFIX) else ""
    return sanitize(commit.removesuffix(DIRTY_SUFFIX))[:12] + dirty_suffix


def format_server_time(text: str) -> str:
    """A server's time in UTC, as all times are shown; without fractions alone if it has no zone."""
    with suppress(ValueError, OverflowError):
        if (moment := datetime.fromisoformat(text)).tzinfo:
            text = f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"
    return re.sub(r"\.\d+", "", text)
