"""The words for differences that `state accept` took for settled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from synapse_apply.model.diagnostic import pointer
from synapse_apply.model.plan import Change, FieldChange
from synapse_apply.views.fields import Layout, grow
from synapse_apply.views.findings import dotted
from synapse_apply.views.grammar import plural
from synapse_apply.views.masking import plain
from synapse_apply.views.pen import Pen
from synapse_apply.views.safety import clean, disarm

_WIDTH = 110
_INDENT = 4
_SHOWN = 5


def count_accepted(changes: Iterable[Change]) -> int:
    """How many fields of these resources differ by agreement."""
    return sum(len(change.accepted) for change in changes)


def accepted_line(changes: Sequence[Change]) -> str:
    """The line that counts and names them, "" where there are none."""
    fields = [
        f"{clean(change.address)}: {clean(dotted(field.path))}"
        for change in changes
        for field in change.accepted
    ]
    return fields_line(fields)


def fields_line(fields: Sequence[str]) -> str:
    """The same of fields named as ADDRESS: FIELD."""
    if not fields:
        return ""
    more = f" and {len(fields) - _SHOWN} more" if len(fields) > _SHOWN else ""
    return f"{plural(len(fields), 'accepted difference')} ({', '.join(fields[:_SHOWN])}{more})."


def accepted_documents(changes: Iterable[Change]) -> list[dict[str, Any]]:
    """The same as JSON, an entry a field; null stands for what is secret."""
    return [
        {
            "address": str(change.address),
            "path": pointer(field.path),
            "sensitive": field.sensitive,
            "live": None if field.sensitive else plain(field.before),
            "declared": None if field.sensitive else plain(field.after),
        }
        for change in changes
        for field in change.accepted
    ]


def render_differing(
    address: object,
    differing: Sequence[FieldChange],
    accepted: Sequence[FieldChange],
    notes: Sequence[str],
    *,
    color: bool,
    width: int | None = None,
) -> str:
    """What accepting a resource settles: a row a field, from live to declared."""
    pen = Pen(color)
    lines: list[str] = []
    for title, fields in (("differs", differing), ("differs, accepted before", accepted)):
        if fields:
            heading = f"{clean(address)} {title} (live -> declared):"
            rows = Layout(pen, width or _WIDTH).rows(grow(fields), _INDENT)
            lines += [pen(heading, "bold"), *rows]
    lines += [f"  . {clean(note)}" for note in notes]
    return disarm("".join(f"{line}\n" for line in lines))
