"""How drift is shown as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from synapse_apply.model.command import Command, Text, name_target_in_commands
from synapse_apply.model.phrases import format_count_and_noun, format_short_list
from synapse_apply.model.plan import Cause, FieldChange
from synapse_apply.model.report import Drift, ObjectDrift, Unmanaged
from synapse_apply.model.values import ABSENT
from synapse_apply.views.sanitize import escape_ci_commands, sanitize, sanitize_lines
from synapse_apply.views.text.findings import finding_blocks, format_quoted_path
from synapse_apply.views.text.plan import name_accepted, target_line
from synapse_apply.views.text.terminal import MAX_COLUMN_WIDTH, Style
from synapse_apply.views.text.values import RowLayout, build_field_tree, format_value_inline

_NO_DRIFT = "No drift. Live objects match the state."
_AS_DECLARED = "No drift. Live objects match the state or the manifests."
_HEADER = "Objects have changed outside synapse-apply:"
_HEADER_WITH_ORIGIN = "Objects differ from the state:"


def render_drift(
    drift: Drift, *, color: bool, width: int | None = None, location: Sequence[str] = ()
) -> str:
    """The text of a drift check, ending with a newline.

    `width` is the terminal's; `location` are options that are added to the
    commands that the text names.
    """
    style = Style(color)
    parts = [target_line(drift.base, style)]
    if drift.objects:
        parts.append(_HEADER_WITH_ORIGIN if drift.has_origin else _HEADER)
    parts += [object_block(one, RowLayout(style, width)) for one in drift.objects]
    parts.append("\n".join([*_unmanaged_lines(drift, style)]))
    parts.append("\n".join([*_totals(drift, style, location)]))
    parts += finding_blocks(drift.diagnostics, style)
    return escape_ci_commands("\n\n".join(part for part in parts if part) + "\n")


def render_written_edits(
    drift: Drift, *, color: bool, is_written: bool, show_hints: bool, location: Sequence[str] = ()
) -> str:
    """The edits by which drift was accepted, as text: file, field, old and new value.

    `location` are options that are added to the commands that the text names.
    """
    if not drift.written_edits:
        return "Nothing to edit: the files already have the live values.\n"
    style = Style(color)
    lines: list[str] = []
    for address in dict.fromkeys(edit.address for edit in drift.written_edits):
        lines.append(style(sanitize(address), "bold"))
        for edit in drift.written_edits:
            if edit.address == address:
                old, new = (
                    ("(not set)" if side is ABSENT else format_value_inline(side))
                    for side in (edit.field.before, edit.field.after)
                )
                name = format_quoted_path(("spec", *edit.field.path))
                lines.append(f"  {sanitize(edit.file)}:{edit.line}  {name}: {old} -> {new}")
    if not is_written:
        lines += ["", "Nothing was written (--dry-run)."]
    elif show_hints:
        # With changes of Git that wait, the next plan still shows the resource.
        has_pending = any(edit.address in drift.pending_addresses for edit in drift.written_edits)
        absence = "drift for it, only other changes in Git" if has_pending else "change for it"
        records = (Command("apply"), " records the values.")
        next_step = Text(Command("plan"), f" shows no {absence}; ", *records)
        lines += ["", f"Next: {name_target_in_commands(next_step, drift.typed_target, location)}"]
    return escape_ci_commands("\n".join(lines) + "\n")


def what_drifted(object_drift: ObjectDrift) -> str:
    """What happened to an object, as a sentence without its full stop."""
    if object_drift.is_missing:
        return f"{object_drift.address} is gone{object_drift.origin}"
    if object_drift.replacement_id:
        return f"{object_drift.address} was created again outside Git"
    return f"{object_drift.address} has changed"


def object_block(object_drift: ObjectDrift, layout: RowLayout) -> str:
    """The block of a drifted object: a heading, and a row for each field."""
    symbol = "-" if object_drift.is_missing else "~"
    lines = [f"  # {sanitize(what_drifted(object_drift))}"]
    old, new = object_drift.remote_id, object_drift.replacement_id
    if new:
        lines.append(f"  # (recorded as id {sanitize(old)}, now {sanitize(new)})")
    if reason := object_drift.blocked_reason:
        lines += [f"  # (apply cannot undo this: {line})" for line in sanitize_lines(reason)]
    root = build_field_tree(object_drift.all_field_changes)
    if object_drift.is_missing:
        root = build_field_tree([FieldChange(("id",), old, ABSENT, Cause.NONE)])
    elif old:
        # The id identifies the object, as in a plan.
        root.add_unchanged_field(("id",), new or old, is_shown=True)
    return layout.block(lines, symbol, object_drift.address, root)


def _totals(drift: Drift, style: Style, location: Sequence[str]) -> Iterator[str]:
    yield style(drift_totals(drift), "done" if not (drift.objects or drift.has_errors) else "bold")
    yield from iter_ways_out_of_drift(drift, location)
    if drift.pending_addresses:
        yield unapplied_line(drift, location)
    if accepted_text := name_accepted(drift.changes_with_accepted):
        yield accepted_text


def drift_totals(drift: Drift) -> str:
    """The line with the counts of drifted objects, or that there is no drift."""
    if drift.has_errors:
        errors = sum(finding.is_error for finding in drift.diagnostics)
        count = format_count_and_noun(errors, "error")
        return f"Drift incomplete: {count}. The output covers only what could be read."
    if not drift.objects:
        return _AS_DECLARED if drift.has_unrecorded_as_declared else _NO_DRIFT
    changed, gone = len(drift.changed_or_replaced_objects), len(drift.missing_objects)
    return f"Drift: {changed} changed, {gone} gone."


def iter_ways_out_of_drift(drift: Drift, location: Sequence[str] = ()) -> Iterator[str]:
    """Sentences on what can be done about the drift, none without any; commands in backticks."""
    for text in _ways_out(drift):
        yield name_target_in_commands(text, drift.typed_target, location)


def _ways_out(drift: Drift) -> Iterator[str]:
    """The ways out of the drift, none without any; the commands do not name the target yet."""
    if not drift.objects:
        return
    blocked_objects = [one for one in drift.objects if one.blocked_reason]
    has_package = any(field.path == ("digest",) for one in drift.objects for field in one.fields)
    is_remade = any(one.replacement_id and not one.blocked_reason for one in drift.objects)
    options = " --allow-replace" * has_package + " --adopt" * is_remade
    if len(blocked_objects) == len(drift.objects):
        yield Text(
            "Apply cannot undo this drift: ", Command("plan --revert-drift"), " lists the ways out."
        )
    elif not drift.is_drift_kept or not any(map(_has_kept_field, drift.objects)):
        yield Text(Command(f"apply{options}"), " restores the declared values.")
    else:
        changed = [one for one in drift.objects if one.is_changed_in_git]
        restored = [one.address for one in changed if not _has_kept_field(one)]
        in_part = [one.address for one in changed if _has_kept_field(one)]
        parts = [format_short_list(restored)] * bool(restored)
        parts += [f"fields of {format_short_list(in_part)} that Git changed, too"] * bool(in_part)
        besides = f", except for {' and '.join(parts)}" if parts else ""
        yield Text(
            Command("apply"),
            f" keeps the drift (on_drift: hold){besides}. `--revert-drift{options}` undoes the "
            "drift.",
        )
        # A missing object has no live values that could be kept.
        if drift.missing_objects:
            yield "Apply creates missing objects again in any case."
    if 0 < len(blocked_objects) < len(drift.objects):
        lead = (
            f"Apply cannot undo the drift of {len(blocked_objects)} of {len(drift.objects)} "
            "objects: "
        )
        yield Text(lead, Command("plan --revert-drift"), " lists the ways out.")
    live = drift.changed_or_replaced_objects
    if writable := [one.address for one in live if one.is_writable]:
        scope = f" (of {format_short_list(writable)})" if len(writable) < len(live) else ""
        text = f" writes the live values{scope} to the manifests."
        yield Text(Command("drift --write ADDRESS"), text)


def _has_kept_field(object_drift: ObjectDrift) -> bool:
    return not object_drift.is_missing and any(
        field.cause is not Cause.BOTH for field in object_drift.fields
    )


def unapplied_line(drift: Drift, location: Sequence[str] = ()) -> str:
    """The line that counts declared changes that were not applied yet, which are no drift."""
    count = len(drift.pending_addresses)
    verb = "waits" if count == 1 else "wait"
    text = Text(
        f"{format_count_and_noun(count, 'change')} in the manifests {verb} for an apply: see ",
        Command("plan"),
        ".",
    )
    return name_target_in_commands(text, drift.typed_target, location)


def _unmanaged_lines(drift: Drift, style: Style) -> Iterator[str]:
    if drift.unmanaged is None:
        return
    yield style(unmanaged_line(drift), "bold")
    kind_width = max((len(one.kind) for one in drift.unmanaged), default=0)
    # One long id must not push the names of all others out of sight.
    longest_id = max((len(one.remote_id) for one in drift.unmanaged), default=0)
    id_width = min(longest_id, MAX_COLUMN_WIDTH)
    for one in drift.unmanaged:
        keys = sanitize(natural_keys(one))
        row = f"  ? {one.kind:{kind_width}}  id {sanitize(one.remote_id):{id_width}}  {keys}"
        yield row.rstrip()
    yield from (f"  ({line})" for line in unread_lines(drift))


def unread_lines(drift: Drift) -> Iterator[str]:
    """Lines that name the kinds whose unmanaged objects are not known, and why."""
    if drift.unread_kinds:
        yield (
            f"not known: {', '.join(map(sanitize, drift.unread_kinds))} (the list could not be "
            "read)"
        )
    if drift.unlistable_kinds:
        unlisted_kinds = ", ".join(map(sanitize, drift.unlistable_kinds))
        yield f"not searched: {unlisted_kinds} (this backend does not list them)"


def unmanaged_line(drift: Drift) -> str:
    """The line that counts unmanaged live objects."""
    count = format_count_and_noun(len(drift.unmanaged or ()), "live object")
    # `0` would be wrong: lists that could not be read may have some.
    if drift.unread_kinds and not drift.unmanaged:
        return "Unmanaged: none in the lists that could be read."
    if drift.unread_kinds:
        count = f"at least {count}"
    return f"Unmanaged: {count} neither declared nor recorded."


def natural_keys(unmanaged: Unmanaged) -> str:
    """The natural keys of an unmanaged object, separated by commas."""
    return ", ".join(unmanaged.keys)
