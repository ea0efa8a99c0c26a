"""The words for each action, as Terraform's readers and tools know them."""

from __future__ import annotations

from collections.abc import Iterable

from synapse_apply.model.plan import Action, Summary
from synapse_apply.model.refactoring import Moved
from synapse_apply.model.state import DIRTY
from synapse_apply.views.safety import clean

SYMBOL = {
    Action.CREATE: "+",
    Action.RECREATE: "+",
    Action.ADOPT: "~",
    Action.UPDATE: "~",
    Action.DELETE: "-",
    Action.FORGET: ".",
    Action.NO_OP: " ",
}

WILL = {
    Action.CREATE: "will be created",
    Action.RECREATE: "will be recreated (it is missing)",
    Action.ADOPT: "will be imported",
    Action.UPDATE: "will be updated in-place",
    Action.DELETE: "will be destroyed",
    Action.FORGET: "will be forgotten",
    Action.NO_OP: "is unchanged",
}

PAST = {
    Action.CREATE: "created",
    Action.RECREATE: "recreated",
    Action.ADOPT: "imported",
    Action.UPDATE: "updated",
    Action.DELETE: "destroyed",
    Action.FORGET: "forgotten",
    Action.NO_OP: "checked",
}


def cannot(action: Action) -> str:
    """Why a row is a `!` row."""
    return f"cannot be {'applied' if action is Action.NO_OP else PAST[action]}"


def plan_line(summary: Summary) -> str:
    """The line that tools read; the words stand in an order they rely on."""
    import_ = f"{summary.import_} to import, " if summary.import_ else ""
    forget = f", {summary.forget} to forget" if summary.forget else ""
    return (
        f"Plan: {import_}{summary.add} to add, {summary.change} to change, "
        f"{summary.destroy} to destroy{forget}."
    )


def moved_lines(moves: Iterable[Moved]) -> list[str]:
    """A line a rename, as Terraform says it."""
    return [f"  # {clean(move.old)} has moved to {clean(move.new)}" for move in moves]


def plural(count: int, noun: str) -> str:
    """`1 error`, `2 errors`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def byte_size(count: int) -> str:
    """Bytes as people read them: `512 B`, `2.1 MiB`."""
    size, unit = float(min(count, 1 << 90)), "B"  # a file may claim any number
    for larger in ("KiB", "MiB", "GiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def elapsed(seconds: float) -> str:
    """A duration as people read it: `0.4s`, `12s`, `3m05s`."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f}s"
    whole = round(seconds)
    return f"{whole}s" if whole < 60 else f"{whole // 60}m{whole % 60:02d}s"


def short_commit(commit: str) -> str:
    """A commit's first digits, with the mark of a dirty checkout."""
    mark = DIRTY if commit.endswith(DIRTY) else ""
    return clean(commit.removesuffix(DIRTY))[:12] + mark
