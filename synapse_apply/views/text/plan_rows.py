"""How one change of a plan is shown: as a block, a dotted row or a `!` row; with which fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeGuard

from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.frozen import frozen
from synapse_apply.model.packages import Replacement, parse_replacement
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.model.plan import Action, Cause, Change, FieldChange
from synapse_apply.model.values import ABSENT, WithheldSecret, flatten, get_at_or_absent, is_map
from synapse_apply.views.grammar import ACTION_SYMBOLS, PLANNED_PHRASES, format_byte_size
from synapse_apply.views.json.redaction import hide_sensitive, sorted_json
from synapse_apply.views.sanitize import quote_string, sanitize, sanitize_lines, sanitize_plan_lines
from synapse_apply.views.text.field_rows import RowLayout, build_field_tree
from synapse_apply.views.text.refusals import format_refusal_rows
from synapse_apply.views.text.style import Style
from synapse_apply.views.text.verification import render_due_run

_INDENT = 6
# Limits of a package's diff in a block; HTML pages and JSON documents show more.
_MAX_FILES = 20
_MAX_DIFF_LINES = 40
FILE_VERB_SYMBOLS = {"added": "+", "changed": "~", "removed": "-"}
_CREATE_ACTIONS = frozenset({Action.CREATE, Action.RECREATE})


@frozen
class ChangeRenderer:
    """Renders changes; `width` is in cells, and with `show_unchanged` no field is hidden."""

    style: Style
    width: int
    show_unchanged: bool

    def render_change_block(self, change: Change) -> str:
        """The block of a change that will be made: heading, reason and fields."""
        symbol = ACTION_SYMBOLS[change.action]
        # Nothing of the object changes.
        if change.action is Action.ADOPT and not change.fields:
            symbol = " "
        kind, name = sanitize(change.address.kind), quote_string(change.address.name)
        lines = [f"  # {sanitize(change.address)} {PLANNED_PHRASES[change.action]}"]
        if change.action is Action.ADOPT and change.remote_id:
            lines.append(f"  # (imported from {quote_string(change.remote_id)})")
        for fact in (present_reason(change), uploaded_package(change), *change.notes):
            lines += [f"  # ({line})" for line in sanitize_lines(fact) if line]
        lines += [f"  # {line}".rstrip() for line in format_replaced_version(change)]
        root = build_field_tree(list_redacted_changes(change), hidden_symbol=symbol)
        # A create or delete lists all fields anyway.
        if symbol not in {"+", "-"}:
            if change.remote_id:
                root.add_unchanged_field(("id",), change.remote_id, is_shown=True)
            full_object = change.after if change.after is not None else change.before
            for path, value in flatten(
                sorted_json(full_object or {}, change.after_sensitive)
            ).items():
                root.add_unchanged_field(
                    path, value, is_shown=self.show_unchanged or path == ("name",)
                )
            # Redacted ones are missing from the object, but count as fields.
            for path in change.after_sensitive:
                root.add_unchanged_field(
                    path, WithheldSecret("omitted"), is_shown=self.show_unchanged
                )
        return "\n".join(
            [
                *[self.style(line, "bold") for line in lines],
                f"  {self.style.format_symbol_and_space(symbol)}{kind} {name} {{",
                *RowLayout(self.style, self.width).visible_rows(root, _INDENT),
                "    }",
            ]
        )

    def render_run(self, change: Change) -> str:
        """The block of the change's verification run; "" without one."""
        verification = change.verification
        return (
            render_due_run(change, verification, RowLayout(self.style, self.width), self.style)
            if verification
            else ""
        )

    def render_forget_row(self, change: Change) -> str:
        """The row of a resource that leaves the state while the object stays."""
        reason = sanitize("; ".join(change.notes) or change.reason)
        reason = reason or "no longer declared; the object itself stays"
        return (
            f"  {self.style.format_symbol_and_space('.')}{sanitize(change.address)} "
            f"{PLANNED_PHRASES[Action.FORGET]}: {reason}"
        )

    def render_notes(self, change: Change) -> list[str]:
        """A row for each note of a change; the address is added unless a note begins with it."""
        name = sanitize(change.address)
        lines = []
        for note in change.notes:
            first_line, *continuation = sanitize_plan_lines(note)
            text = first_line if first_line.startswith(name) else f"{name}: {first_line}"
            lines.append(f"  {self.style.format_symbol_and_space('.')}{text}")
            lines += [f"      {line}".rstrip() for line in continuation]
        return lines

    def render_refusals(self, change: Change) -> str:
        """The `!` rows of a refused change, with the fields that were wanted."""
        return "\n".join(format_refusal_rows(change, self.style, self.refused_fields(change)))

    def refused_fields(self, change: Change) -> list[str]:
        """The lines of a refused change's fields; none for a create."""
        field_changes = (
            hide_sensitive(change, iter_fields_and_removals(change))
            if change.action not in _CREATE_ACTIONS
            else ()
        )
        return RowLayout(self.style, self.width).visible_rows(
            build_field_tree(field_changes), _INDENT + 2
        )

    def unchanged_line(self, change: Change) -> str:
        """The line of a resource that stays as it is, or whose change is superseded."""
        status_text = "is superseded" if change.superseded else PLANNED_PHRASES[Action.NO_OP]
        if change.reason:
            status_text += f" ({sanitize(change.reason)})"
        if change.rebase:
            status_text += " (its record will be brought up to date)"
        return self.style(f"  # {sanitize(change.address)} {status_text}", "dim")


def present_reason(change: Change) -> str:
    """The reason to show under a change's heading; "" where the heading says it already."""
    # The heading of a recreate says already that the object is missing.
    return "" if change.reason == "missing" else change.reason


def uploaded_package(change: Change) -> str:
    """The package that a create uploads: source, files, size; "" without one."""
    package = change.extras.get("package")
    if not isinstance(package, Mapping):
        return ""
    source, files, size = (package.get(name) for name in ("source", "files", "size"))
    parts = [f"package {source}" if isinstance(source, str) else "package"]
    if _is_valid_count(files):
        parts.append(format_count_and_noun(files, "file"))
    if _is_valid_count(size):
        parts.append(format_byte_size(size))
    return ", ".join(parts)


def summarize_replaced_version(change: Change, replacement: Replacement) -> str:
    """Which version is replaced and how many files differ: `supersedes 1.0.0: 1 file added`."""
    head = f"{'replaces' if change.replaces_package else 'supersedes'} {replacement.version}"
    if replacement.counts is None:
        return f"{head}, whose files are not recorded"
    counts = [(verb, count) for verb, count in replacement.counts.items() if count]
    count_texts = [
        f"{count if index else format_count_and_noun(count, 'file')} {verb}"
        for index, (verb, count) in enumerate(counts)
    ]
    return f"{head}: {', '.join(count_texts) or 'the same files'}"


def format_replaced_version(change: Change) -> list[str]:
    """The lines of what a new version replaces: one for each changed file, with its diff."""
    replacement = parse_replacement(change.extras)
    if replacement is None:
        return []
    lines, remaining_lines = (
        [f"({sanitize(summarize_replaced_version(change, replacement))})"],
        _MAX_DIFF_LINES,
    )
    for changed_file in replacement.files[:_MAX_FILES]:
        note = f" ({sanitize(changed_file.note)})" if changed_file.note else ""
        lines.append(
            f"  {FILE_VERB_SYMBOLS[changed_file.verb]} {sanitize(changed_file.path)}{note}"
        )
        lines += [f"      {sanitize(line)}" for line in changed_file.diff[:remaining_lines]]
        if len(changed_file.diff) > remaining_lines:
            lines.append(f"      ({len(changed_file.diff) - remaining_lines} more lines)")
        remaining_lines = max(0, remaining_lines - len(changed_file.diff))
    if hidden_count := max(0, len(replacement.files) - _MAX_FILES) + replacement.unlisted_count:
        lines.append(f"  ({format_count_and_noun(hidden_count, 'more file')})")
    return lines


def _is_valid_count(value: Any) -> TypeGuard[int]:
    """Whether a value can be a count; extras come from a saved plan and may hold anything."""
    return isinstance(value, int) and 0 <= value < 2**63


def list_redacted_changes(change: Change) -> Iterable[FieldChange]:
    """The fields to show of a change, redacted; all of the object's for a create or delete."""
    if change.fields or change.action not in {*_CREATE_ACTIONS, Action.DELETE}:
        return hide_sensitive(change, iter_fields_and_removals(change))
    is_delete = change.action is Action.DELETE
    full_object = (change.before if is_delete else change.after) or {}
    secret_paths = set(change.before_sensitive if is_delete else change.after_sensitive)
    object_fields = _whole_fields(sorted_json(full_object, secret_paths) or {}, is_delete=is_delete)
    return [*object_fields, *(_build_secret_change(path) for path in sorted(secret_paths, key=str))]


def iter_fields_and_removals(change: Change) -> Iterator[FieldChange]:
    """The changed fields, with a removal for each live scalar or list at a path above one.

    A plan compares declared fields one by one, and does not list what is live at a path above one.
    """
    if not change.before:
        yield from change.fields
        return
    listed_paths = {field.path for field in change.fields}
    secret_paths = {*change.before_sensitive, *change.after_sensitive}
    secret_paths |= {field.path for field in change.fields if field.sensitive}
    for field in change.fields:
        for end in range(1, len(field.path)):
            path = field.path[:end]
            if path in listed_paths:
                continue
            value = get_at_or_absent(change.before, path)
            if value is not ABSENT and not is_map(value) and value != {}:
                listed_paths.add(path)
                # Where the new map holds a secret, the scalar that it replaces may be one, too.
                if any(secret_path[:end] == path for secret_path in secret_paths):
                    yield replace(_build_secret_change(path), cause=field.cause)
                else:
                    yield FieldChange(path, value, ABSENT, field.cause)
        yield field


def _whole_fields(tree: Mapping[str, Any], *, is_delete: bool) -> Iterable[FieldChange]:
    for path, value in flatten(tree).items():
        before, after = (value, ABSENT) if is_delete else (ABSENT, value)
        yield FieldChange(path, before, after, Cause.NONE)


def _build_secret_change(path: FieldPath) -> FieldChange:
    return FieldChange(path, ABSENT, ABSENT, Cause.NONE, sensitive=True)
