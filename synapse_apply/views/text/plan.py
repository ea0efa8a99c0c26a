"""How a plan is shown as text, in Terraform's format, which people and tools know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

from synapse_apply.model.command import Command
from synapse_apply.model.frozen import frozen
from synapse_apply.model.job import Verification
from synapse_apply.model.packages import KEPT_KEY, Replacement, parse_replacement
from synapse_apply.model.phrases import format_count_and_noun, format_short_list
from synapse_apply.model.plan import Action, Change, Plan, PlanBase
from synapse_apply.model.remote import DryRunCounts
from synapse_apply.model.values import WithheldSecret, flatten
from synapse_apply.views import grammar
from synapse_apply.views.redaction import (
    hide_sensitive,
    shown_fields,
    sorted_json,
    wanted_fields,
)
from synapse_apply.views.sanitize import (
    escape_ci_commands,
    quote_string,
    sanitize,
    sanitize_lines,
    sanitize_plan_lines,
    sanitize_url,
)
from synapse_apply.views.text import findings
from synapse_apply.views.text.terminal import Style
from synapse_apply.views.text.values import BLOCK_INDENT, FieldNode, RowLayout, build_field_tree

_HEADER = "synapse-apply will perform the following actions:"
_OFFLINE_HEADER = "If the live state is {}, synapse-apply will perform the following actions:"
_NOT_COMPARED_HEADER = "All declared resources, as if none of them existed yet:"
_INCOMPLETE_HEADER = "synapse-apply planned the following actions, but then met a problem:"
_NO_CHANGES = "No changes. Live state matches the configuration."
_NO_OTHER_CHANGES = (
    "No changes. Apart from accepted differences, live state matches the configuration."
)
_EMPTY_PLAN = "No changes. This plan contains no resources."
_ONLY_KEPT_DRIFT = "No changes. Apply keeps the changes made outside Git (on_drift: hold)."
_ONLY_KEPT_UNTOLD = (
    "No changes. Apply keeps the live values that differ from the manifests (on_drift: hold)."
)
_NO_OFFLINE_CHANGES = "No changes. If the live state is {}, there is nothing to do."
_CHANGES_LEFT_OUT = "No changes. This plan contains none of the current differences."


def render_plan(
    plan: Plan, *, color: bool, width: int | None = None, show_unchanged: bool = False
) -> str:
    """The text of a plan, ending with a newline.

    `width` is the terminal's in cells, None without one. `show_unchanged` also shows fields and
    resources that stay as they are.
    """
    style = Style(color)
    blocks = ChangeRenderer(style, width, show_unchanged)
    lines: list[str] = []
    for change in plan.changes:
        if change.action is Action.FORGET and not change.is_refused:
            lines.append(blocks.render_forget_row(change))
        elif not is_object_change_to_make(change):
            lines += blocks.render_notes(change)
    parts = [*_header_and_blocks(plan, blocks), "\n".join(lines)]
    parts += (
        "\n".join(findings.format_refusal_rows(change, style, blocks.refused_fields(change)))
        for change in plan.refused_changes
    )
    if show_unchanged:
        unchanged = (c for c in plan.changes if c.action is Action.NO_OP or c.superseded)
        parts.append("\n".join(blocks.unchanged_line(c) for c in unchanged if not c.is_refused))
    # An empty plan needs no target line: the message below says it all.
    if any(parts) or plan.guards or plan.base.revision or plan.base.is_offline:
        parts.insert(0, target_line(plan.base, style, plan.trial))
    parts.append(plan_totals(plan, style))
    for guard in plan.guards:
        title = style(f"Apply will stop: {sanitize(guard.summary)}", "bold")
        option = sanitize(guard.untold_option)
        hint_lines = [f"  Hint: if you intend this, apply with {option}"] if option else []
        head = style("Warning: ", "warning") + title
        parts.append("\n".join([head, *findings.indent_lines(guard.detail), *hint_lines]))
    parts += findings.finding_blocks(plan.diagnostics, style)
    return escape_ci_commands("\n\n".join(part for part in parts if part) + "\n")


def _header_and_blocks(plan: Plan, blocks: ChangeRenderer) -> list[str]:
    rows = ["\n".join(grammar.format_moved_lines(plan.moved))] if plan.moved else []
    for change in plan.changes:
        if is_object_change_to_make(change):
            rows.append(blocks.render_change_block(change))
        if change.verification and not change.is_refused:
            rows.append(blocks.render_run(change, change.verification))
    if not rows:
        return []
    header = _HEADER
    if plan.has_errors:
        header = _INCOMPLETE_HEADER
    elif not plan.base.compared:
        header = _NOT_COMPARED_HEADER
    elif plan.base.is_offline:
        header = _OFFLINE_HEADER.format(sanitize(plan.base.against))
    return [header, *rows]


def is_object_change_to_make(change: Change) -> bool:
    """Whether a change has a block of its own: it is made, and neither refused nor superseded."""
    is_passive = change.action in {Action.NO_OP, Action.FORGET}
    return not (is_passive or change.is_refused or change.superseded)


def target_line(base: PlanBase, style: Style, dry_run: DryRunCounts | None = None) -> str:
    """The line with a plan's target, backend, commit, and how many calls a dry run tried."""
    url = sanitize_url(base.binding.url)
    facts = ["the embedded backend" if url == "embedded:" else url]
    if base.is_offline:
        commit = f"commit {grammar.shorten_commit_and_suffix(base.commit)} " if base.commit else ""
        relation = "against" if base.compared else "not compared with"
        text = f"{commit}{relation} {sanitize(base.against)}, without querying the backend"
        return style(f"Target {sanitize(base.target)}: {text}", "dim")
    if base.binding.tenant:
        facts.append(f"tenant {sanitize(base.binding.tenant)}")
    if base.revision:
        facts.append(f"manifests as of {sanitize(base.revision)}")
    elif base.commit:
        facts.append(f"commit {grammar.shorten_commit_and_suffix(base.commit)}")
    if dry_run is not None and dry_run.total_calls:
        facts.append(
            f"{dry_run.tried} of {format_count_and_noun(dry_run.total_calls, 'call')} checked "
            "by a server dry run"
        )
    return style(f"Target {sanitize(base.target)}: {', '.join(facts)}", "dim")


def next_apply(plan: Plan) -> Command | None:
    """The command that applies what a plan shows; None where there is nothing, or an obstacle."""
    if not (plan.has_changes and plan.is_applyable):
        return None
    adopts = any(c.action is Action.ADOPT and not c.is_refused for c in plan.changes)
    return Command("apply --adopt" if adopts else "apply", target=plan.base.target)


def plan_totals(plan: Plan, style: Style) -> str:
    """The lines of counts of a plan, or that there are no changes."""
    accepted_text = style(name_accepted(plan.changes_with_accepted), "bold")
    return "\n".join(filter(None, (_totals(plan, style), accepted_text)))


def _totals(plan: Plan, style: Style) -> str:
    # Counts of an incomplete plan would be wrong.
    if plan.has_errors:
        errors = sum(finding.is_error for finding in plan.diagnostics)
        count = format_count_and_noun(errors, "error")
        return style(f"Plan incomplete: {count}. It cannot be applied.", "bold")
    if not (plan.has_changes or plan.refused_changes):
        if plan.base.is_offline:
            return style(_NO_OFFLINE_CHANGES.format(sanitize(plan.base.against)), "done")
        if not plan.changes:  # nothing is declared, or all of it is left out
            return style(_EMPTY_PLAN, "done")
        conclusion = _NO_OTHER_CHANGES if plan.changes_with_accepted else _NO_CHANGES
        kept = [field.origin for change in plan.changes for field in change.held]
        kept += [str(c.extras[KEPT_KEY]) for c in plan.changes if KEPT_KEY in c.extras]
        if any("left_out" in change.extras for change in plan.changes):
            conclusion = _CHANGES_LEFT_OUT
        elif kept:  # of some it cannot be told who set them
            conclusion = _ONLY_KEPT_UNTOLD if any(kept) else _ONLY_KEPT_DRIFT
        return style(conclusion, "done")
    lines = []
    if not plan.base.compared:
        against = sanitize(plan.base.against)
        lines.append(f"Not compared with {against}: every declared resource is treated as new.")
    if plan.refused_changes:
        lines.append(findings.format_refused_count(len(plan.refused_changes)))
    if runs := [run for change in plan.changes_to_verify if (run := change.verification)]:
        followed_count = sum(bool(run.job) for run in runs)
        to_follow = f", {followed_count} to follow" * bool(followed_count)
        lines.append(f"Verify: {len(runs) - followed_count} to run{to_follow}.")
    lines.append(grammar.format_plan_line(plan.summary))
    return "\n".join(style(line, "bold") for line in lines)


def count_accepted_fields(changes: Iterable[Change]) -> int:
    """How many fields of these resources have an accepted difference."""
    return sum(len(change.accepted) for change in changes)


def name_accepted(changes: Sequence[Change]) -> str:
    """The line that counts and names the accepted differences; "" for none."""
    fields = [
        f"{sanitize(change.address)}: {sanitize(findings.format_quoted_path(field.path))}"
        for change in changes
        for field in change.accepted
    ]
    return name_accepted_fields(fields)


def name_accepted_fields(address_field_texts: Sequence[str]) -> str:
    """The line that counts and names fields given as `ADDRESS: FIELD`; "" for none."""
    if not address_field_texts:
        return ""
    listed = format_short_list(address_field_texts)
    return f"{format_count_and_noun(len(address_field_texts), 'accepted difference')} ({listed})."


# Limits of a package's diff in a block; HTML pages and JSON documents show more.
_MAX_FILES = 20
_MAX_DIFF_LINES = 40
FILE_VERB_SYMBOLS = {"added": "+", "changed": "~", "removed": "-"}


@frozen
class ChangeRenderer(RowLayout):
    """Renders changes; with `show_unchanged` no field is hidden."""

    show_unchanged: bool = False

    def render_change_block(self, change: Change) -> str:
        """The block of a change that will be made: heading, reason and fields."""
        symbol = grammar.ACTION_SYMBOLS[change.action]
        # Nothing of the object changes.
        if change.action is Action.ADOPT and not change.fields:
            symbol = " "
        lines = [f"  # {sanitize(change.address)} {grammar.PLANNED_PHRASES[change.action]}"]
        if change.action is Action.ADOPT and change.remote_id:
            lines.append(f"  # (imported from {quote_string(change.remote_id)})")
        for fact in (present_reason(change), uploaded_package(change), *change.notes):
            lines += [f"  # ({line})" for line in sanitize_lines(fact) if line]
        lines += [f"  # {line}".rstrip() for line in replaced_lines(change)]
        root = build_field_tree(shown_fields(change), hidden_symbol=symbol)
        # A create or delete lists all fields anyway.
        if symbol not in {"+", "-"}:
            if change.remote_id:
                root.add_unchanged_field(("id",), change.remote_id, is_shown=True)
            full_object = change.after if change.after is not None else change.before
            values = flatten(sorted_json(full_object or {}, change.after_sensitive))
            for path, value in values.items():
                is_shown = self.show_unchanged or path == ("name",)
                root.add_unchanged_field(path, value, is_shown=is_shown)
            # Redacted ones are missing from the object, but count as fields.
            for path in change.after_sensitive:
                hidden = WithheldSecret("omitted")
                root.add_unchanged_field(path, hidden, is_shown=self.show_unchanged)
        return self.block(lines, symbol, change.address, root)

    def render_run(self, change: Change, verification: Verification) -> str:
        """The block of a run that apply will start or follow, with its request body."""
        root = FieldNode()
        for path, value in flatten(verification.body).items():
            if value != {}:
                root.add_unchanged_field(path, value, is_shown=True)
        rows = self.visible_rows(root, BLOCK_INDENT)
        head = (
            f"{sanitize(change.address)} will be verified",
            f"({sanitize(verification.reason)})",
        )
        body = ["    run {", *rows, "    }"] if rows else ["    run {}"]
        return "\n".join([*(self.style(f"  # {line}", "bold") for line in head), *body])

    def render_forget_row(self, change: Change) -> str:
        """The row of a resource that leaves the state while the object stays."""
        reason = sanitize("; ".join(change.notes) or change.reason)
        reason = reason or "no longer declared; the live object stays"
        return (
            f"  {self.style.format_symbol_and_space('.')}{sanitize(change.address)} "
            f"{grammar.PLANNED_PHRASES[Action.FORGET]}: {reason}"
        )

    def render_notes(self, change: Change) -> list[str]:
        """A row for each note of a change, then the drift that is kept.

        The address is added unless a note begins with it.
        """
        name = sanitize(change.address)
        lines = []
        for note in change.notes:
            first_line, *continuation = sanitize_plan_lines(note)
            text = first_line if first_line.startswith(name) else f"{name}: {first_line}"
            lines.append(f"  {self.style.format_symbol_and_space('.')}{text}")
            lines += [f"      {line}".rstrip() for line in continuation]
        kept_fields = build_field_tree(hide_sensitive(change, change.held))
        kept = self.visible_rows(kept_fields, BLOCK_INDENT + 2)
        return [*lines, "      live -> declared:", *kept] if kept else lines

    def refused_fields(self, change: Change) -> list[str]:
        """The lines of a refused change's fields; none for a create."""
        return self.visible_rows(build_field_tree(wanted_fields(change)), BLOCK_INDENT + 2)

    def unchanged_line(self, change: Change) -> str:
        """The line of a resource that stays as it is, or whose change is superseded."""
        status_text = (
            "is superseded" if change.superseded else grammar.PLANNED_PHRASES[Action.NO_OP]
        )
        if change.reason:
            status_text += f" ({sanitize(change.reason)})"
        if change.rebase:
            status_text += " (apply updates its record)"
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
        parts.append(grammar.format_byte_size(size))
    return ", ".join(parts)


def describe_replaced(change: Change, replacement: Replacement) -> str:
    """Which version is replaced and how many files differ: `supersedes 1.0.0: 1 file added`."""
    head = f"{'replaces' if change.replaces_package else 'supersedes'} {replacement.version}"
    if replacement.counts is None:
        return f"{head}; the state has no list of its files"
    counts = [(verb, count) for verb, count in replacement.counts.items() if count]
    count_texts = [
        f"{count if index else format_count_and_noun(count, 'file')} {verb}"
        for index, (verb, count) in enumerate(counts)
    ]
    return f"{head}: {', '.join(count_texts) or 'the same files'}"


def replaced_lines(change: Change) -> list[str]:
    """The lines of what a new version replaces: one for each changed file, with its diff."""
    replacement = parse_replacement(change.extras)
    if replacement is None:
        return []
    lines = [f"({sanitize(describe_replaced(change, replacement))})"]
    remaining_lines = _MAX_DIFF_LINES
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
