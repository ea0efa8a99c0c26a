"""Drift as text and as a JSON document (schemas/v1/drift.schema.json)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from synapse_apply.model.aim import aimed, completed
from synapse_apply.model.diagnostic import pointer
from synapse_apply.model.drift import Drift, Edited, ObjectDrift, Unmanaged
from synapse_apply.model.plan import Cause, FieldChange
from synapse_apply.model.values import ABSENT
from synapse_apply.views.accepted import accepted_documents, accepted_line, count_accepted
from synapse_apply.views.fields import Layout, grow
from synapse_apply.views.findings import dotted, finding_blocks
from synapse_apply.views.grammar import plural
from synapse_apply.views.json import FORMAT_VERSION, base_document
from synapse_apply.views.literals import inline
from synapse_apply.views.masking import plain
from synapse_apply.views.pen import Pen
from synapse_apply.views.safety import clean, clean_lines, disarm, quote
from synapse_apply.views.tables import WIDEST
from synapse_apply.views.text import target_line

NO_DRIFT = "No drift. Live objects are as they were recorded."
_HEADER = "Objects have changed outside of synapse-apply:"
_WIDTH = 110
_INDENT = 6


def render_drift(drift: Drift, *, color: bool, width: int | None = None, options: str = "") -> str:
    """What moved outside, as text that ends with a newline.

    `width` is the terminal's; the commands it names have `options`, too.
    """
    pen = Pen(color)
    blocks = [object_block(one, pen, width or _WIDTH) for one in drift.objects]
    parts = [target_line(drift.base, pen)]
    parts += [_HEADER, *blocks] if blocks else []
    parts.append("\n".join([*_unmanaged(drift, pen)]))
    parts.append("\n".join([*_totals(drift, pen, options)]))
    parts += finding_blocks(drift.diagnostics, pen)
    return disarm("\n\n".join(part for part in parts if part) + "\n")


def render_accepted(
    drift: Drift, *, color: bool, written: bool, hints: bool, options: str = ""
) -> str:
    """What was written into the files: where, which field, from what to what.

    The commands it names have `options`, too.
    """
    if not drift.accepted:
        return "Nothing to edit: the files say what is live already.\n"
    pen = Pen(color)
    lines: list[str] = []
    for address in dict.fromkeys(one.address for one in drift.accepted):
        lines.append(pen(clean(address), "bold"))
        lines += [f"  {accepted_row(one)}" for one in drift.accepted if one.address == address]
    if not written:
        lines += ["", "Nothing was written (--dry-run)."]
    elif hints:
        waits = any(one.address in drift.waiting for one in drift.accepted)
        what = "no drift for it, only what Git changes besides" if waits else "no change for it"
        following = f"`synapse-apply plan` shows {what}; `synapse-apply apply` records that."
        lines += ["", f"Next: {completed(following, options)}"]
    return disarm("\n".join(lines) + "\n")


def accepted_row(edited: Edited) -> str:
    """Where it stands now, the field, and the value before and now."""
    old, new = (_short(side) for side in (edited.field.before, edited.field.after))
    name = dotted(("spec", *edited.field.path))
    return f"{clean(edited.file)}:{edited.line}  {name}: {old} -> {new}"


def _short(value: Any) -> str:
    return "(not there)" if value is ABSENT else inline(value)


def heading(one: ObjectDrift) -> str:
    """What became of an object, in a sentence without its end."""
    if one.gone:
        return f"{one.address} is gone"
    if one.remade:
        return f"{one.address} was made anew outside"
    return f"{one.address} has changed"


def object_block(one: ObjectDrift, pen: Pen, width: int) -> str:
    """An object that is not as it was left: heading, and a row a field."""
    symbol = "-" if one.gone else "~"
    lines = [f"  # {clean(heading(one))}"]
    if one.remade:
        lines.append(f"  # (recorded as id {clean(one.remote_id)}, now {clean(one.remade)})")
    if one.stuck:
        lines += [f"  # (apply cannot undo it: {line})" for line in clean_lines(one.stuck)]
    root = grow(one.shown)
    if one.gone:
        root = grow([FieldChange(("id",), one.remote_id, ABSENT, Cause.NONE)])
    elif one.remote_id:
        root.keep(("id",), one.remade or one.remote_id, shown=True)
    return "\n".join(
        [
            *(pen(line, "bold") for line in lines),
            f"  {pen.mark(symbol)}{clean(one.address.kind)} {quote(one.address.name)} {{",
            *Layout(pen, width).rows(root, _INDENT),
            "    }",
        ]
    )


def _totals(drift: Drift, pen: Pen, options: str) -> Iterator[str]:
    yield pen(came_to(drift), "done" if not (drift.objects or drift.errored) else "bold")
    if drift.objects:
        yield from (completed(way, options) for way in ways_out(drift))
    if drift.waiting:
        yield completed(waiting_line(drift), options)
    if accepted := accepted_line(drift.with_accepted):
        yield accepted


def came_to(drift: Drift) -> str:
    """The line that says what it comes to."""
    if drift.errored:
        count = plural(sum(finding.is_error for finding in drift.diagnostics), "error")
        return f"Drift incomplete: {count}. What could be seen is shown."
    if not drift.objects:
        return NO_DRIFT
    return f"Drift: {len(drift.changed)} changed, {len(drift.gone)} gone."


def ways_out(drift: Drift) -> Iterator[str]:
    """What can be done about it, a sentence each; words in backticks are commands."""
    return (aimed(way, drift.aim) for way in _ways_out(drift))


def _ways_out(drift: Drift) -> Iterator[str]:
    stuck = [one for one in drift.objects if one.stuck]
    if len(stuck) == len(drift.objects):
        yield "Apply cannot undo it: `synapse-apply plan --revert-drift` tells the ways out."
    elif not drift.held:
        yield "`synapse-apply apply` makes it again what is declared."
    else:
        yield "`synapse-apply apply` keeps it (on_drift: hold); with `--revert-drift` it undoes it."
        if drift.gone:
            yield "What is gone is made again in any case."
    if 0 < len(stuck) < len(drift.objects):
        those = f"{len(stuck)} of {len(drift.objects)}"
        yield f"Apply cannot undo {those}: `synapse-apply plan --revert-drift` tells the ways out."
    writable = [one for one in drift.changed if one.writable]
    if writable:
        of = "" if len(writable) == len(drift.changed) else f" (of {_join_addresses(writable)})"
        yield f"`synapse-apply drift --accept ADDRESS` writes live values{of} into the manifests."


def _join_addresses(objects: Sequence[ObjectDrift], most: int = 5) -> str:
    more = f" and {len(objects) - most} more" if len(objects) > most else ""
    return ", ".join(str(one.address) for one in objects[:most]) + more


def waiting_line(drift: Drift) -> str:
    """What is no drift: what Git has and nobody applied yet."""
    count = len(drift.waiting)
    verb = "waits" if count == 1 else "wait"
    told = f"{plural(count, 'declared change')} {verb} to be applied: see `synapse-apply plan`."
    return aimed(told, drift.aim)


def _unmanaged(drift: Drift, pen: Pen) -> Iterator[str]:
    if drift.unmanaged is None:
        return
    found = drift.unmanaged
    yield pen(unmanaged_line(drift), "bold")
    kinds = max((len(one.kind) for one in found), default=0)
    ids = min(max((len(one.remote_id) for one in found), default=0), WIDEST)
    for one in found:
        row = f"  ? {one.kind:{kinds}}  id {clean(one.remote_id):{ids}}  {clean(names(one))}"
        yield row.rstrip()
    yield from (f"  ({line})" for line in unlisted_lines(drift))


def unlisted_lines(drift: Drift) -> Iterator[str]:
    """Of which kinds nobody knows what is unmanaged, and why."""
    if drift.unseen:
        yield f"not known: {', '.join(map(clean, drift.unseen))}, whose list could not be read"
    if drift.unlisted:
        unlisted = ", ".join(map(clean, drift.unlisted))
        yield f"not looked for: {unlisted}, which this backend does not list"


def unmanaged_line(drift: Drift) -> str:
    """How many live objects nobody looks after."""
    count = plural(len(drift.unmanaged or ()), "live object")
    if drift.unseen and not drift.unmanaged:
        return "Unmanaged: none among what could be listed."
    if drift.unseen:
        count = f"at least {count}"
    return f"Unmanaged: {count} that nothing declares or records."


def names(one: Unmanaged) -> str:
    """What an unmanaged object is known by."""
    return ", ".join(one.keys)


def drift_document(drift: Drift) -> dict[str, Any]:
    """The document of `drift --json`."""
    return {
        "format_version": FORMAT_VERSION,
        "tool_version": drift.tool_version,
        "timestamp": drift.created,
        "errored": drift.errored,
        "drifted": bool(drift.objects),
        "base": base_document(drift.base),
        "on_drift": "hold" if drift.held else "revert",
        "summary": {
            "changed": len(drift.changed),
            "gone": len(drift.gone),
            "waiting": len(drift.waiting),
            "unmanaged": drift.strangers,
            "accepted_differences": count_accepted(drift.with_accepted),
        },
        "resource_drift": [_object(one) for one in drift.objects],
        "waiting": [str(address) for address in drift.waiting],
        "unmanaged": None if drift.unmanaged is None else list(map(_stranger, drift.unmanaged)),
        "not_listed": sorted((*drift.unlisted, *drift.unseen)),
        "accepted_differences": accepted_documents(drift.with_accepted),
        "accepted": [_edited(one) for one in drift.accepted],
        "diagnostics": [finding.to_json() for finding in drift.diagnostics],
    }


def _object(one: ObjectDrift) -> dict[str, Any]:
    at = one.position
    return {
        "address": str(one.address),
        "mode": "managed",
        "type": one.address.kind,
        "name": one.address.name,
        "id": one.remote_id or None,
        "gone": one.gone,
        "remade_as": one.remade or None,
        "cannot_be_undone": one.stuck or None,
        "fields": [_field(field) for field in one.shown],
        "range": at and {"filename": at.file, "start": {"line": at.line, "column": at.column}},
    }


def _field(field: FieldChange) -> dict[str, Any]:
    return {
        "path": pointer(field.path),
        "cause": field.cause.value,
        "sensitive": field.sensitive,
        "recorded": None if field.sensitive else plain(field.before),
        "live": None if field.sensitive else plain(field.after),
        "note": field.note,
        "inside": [pointer(path) for path in field.inside],
    }


def _stranger(one: Unmanaged) -> dict[str, Any]:
    return {"type": one.kind, "id": one.remote_id, "natural_keys": list(one.keys)}


def _edited(one: Edited) -> dict[str, Any]:
    return {
        "address": str(one.address),
        "path": pointer(one.field.path),
        "file": one.file,
        "line": one.line,
        "before": plain(one.field.before),
        "after": plain(one.field.after),
    }
