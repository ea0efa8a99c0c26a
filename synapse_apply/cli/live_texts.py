"""Live objects that were asked for by hand, as a person reads them and as documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from synapse_apply.cli.face import Face
from synapse_apply.cli.job_texts import short_time
from synapse_apply.session.reach import Live
from synapse_apply.views.literals import SECRETS, SENSITIVE
from synapse_apply.views.record import live_document, render_live
from synapse_apply.views.tables import render_table


def show(face: Face, kind: str, live: Live, expanded: Mapping[str, Live] | None = None) -> int:
    """One object with its fields, a secret as `(sensitive)`; and `expanded` ones by their kind."""
    others = expanded or {}
    if face.as_json:
        more = {name: _document(name, one) for name, one in others.items()}
        face.document({**_document(kind, live), **({"expanded": more} if more else {})})
        return 0
    for name, one in {kind: live, **others}.items():
        spec = one.observed.spec
        title = str(spec.get("name") or spec.get("version") or one.observed.remote_id)
        face.out(render_live(name, title, one.observed, color=face.color_out, width=face.width))
    return 0


def list_all(face: Face, kind: str, lives: Sequence[Live], fields: Sequence[str]) -> int:
    """A row an object, with some of its fields."""
    if face.as_json:
        face.document({f"{kind}s": [_document(kind, live) for live in lives]})
    elif lives:
        rows = [
            (live.observed.remote_id, *(_cell(live.observed.spec.get(name)) for name in fields),
             short_time(live.created))
            for live in lives
        ]  # fmt: skip
        face.out(render_table(("id", *fields, "created"), rows, color=face.color_out))
    return 0


def _document(kind: str, live: Live) -> dict[str, Any]:
    return {**live_document(kind, live.observed), "created": live.created}


def _cell(value: Any) -> str:
    if isinstance(value, SECRETS):
        return SENSITIVE
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
