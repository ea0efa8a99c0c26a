"""One change of a plan as a block, a dotted row or a `!` row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeGuard

from synapse_apply.model.diagnostic import Path
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Action, Cause, Change, FieldChange
from synapse_apply.model.replacement import Replacement, replacement_of
from synapse_apply.model.values import ABSENT, Withheld, dig, is_map, leaves
from synapse_apply.views.fields import Layout, Node, grow
from synapse_apply.views.grammar import SYMBOL, WILL, byte_size, plural
from synapse_apply.views.masking import masked, veiled
from synapse_apply.views.pen import Pen
from synapse_apply.views.refusals import refusal_rows
from synapse_apply.views.safety import clean, clean_lines, quote, told_lines
from synapse_apply.views.verification import planned_row

_INDENT = 6
# How much of a package's difference a block has; pages and documents have more.
_MOST_FILES = 20
_MOST_DIFF_LINES = 40
FILE_SIGNS = {"added": "+", "changed": "~", "removed": "-"}
_NEW = frozenset({Action.CREATE, Action.RECREATE})


@frozen
class Blocks:
    """Shows changes; `width` in cells. `show_unchanged` hides no field."""

    pen: Pen
    width: int
    show_unchanged: bool

    def action(self, change: Change) -> str:
        """A change that will be made: its heading, its reason and its fields."""
        symbol = SYMBOL[change.action]
        if change.action is Action.ADOPT and not change.fields:
            symbol = " "
        kind, name = clean(change.address.kind), quote(change.address.name)
        return "\n".join(
            [
                *self._heading(change),
                f"  {self.pen.mark(symbol)}{kind} {name} {{",
                *self._body(change, symbol),
                "    }",
            ]
        )

    def _heading(self, change: Change) -> list[str]:
        lines = [f"  # {clean(change.address)} {WILL[change.action]}"]
        if change.action is Action.ADOPT and change.remote_id:
            lines.append(f"  # (imported from {quote(change.remote_id)})")
        for fact in (why(change), package_line(change), *change.notes):
            lines += [f"  # ({line})" for line in clean_lines(fact) if line]
        lines += [f"  # {line}".rstrip() for line in replacement_lines(change)]
        return [self.pen(line, "bold") for line in lines]

    def _body(self, change: Change, symbol: str) -> list[str]:
        root = grow(fields_shown(change), secrets_as=symbol)
        if symbol not in {"+", "-"}:
            self._keep(root, change)
        return Layout(self.pen, self.width).rows(root, _INDENT)

    def _keep(self, root: Node, change: Change) -> None:
        if change.remote_id:
            root.keep(("id",), change.remote_id, shown=True)
        whole = change.after if change.after is not None else change.before
        for path, value in leaves(masked(whole or {}, change.after_sensitive)).items():
            root.keep(path, value, shown=self.show_unchanged or path == ("name",))
        for path in change.after_sensitive:
            root.keep(path, Withheld("omitted"), shown=self.show_unchanged)

    def run(self, change: Change) -> str:
        """The run that shows that it works: a row of its own."""
        due = change.verification
        return planned_row(change, due, Layout(self.pen, self.width), self.pen) if due else ""

    def forget(self, change: Change) -> str:
        """A row for what leaves the state while the object stays."""
        why = clean("; ".join(change.notes) or change.reason)
        why = why or "no longer declared; the object itself stays"
        return f"  {self.pen.mark('.')}{clean(change.address)} {WILL[Action.FORGET]}: {why}"

    def notes(self, change: Change) -> list[str]:
        """Rows that ask for nothing now; a note may begin with its address or be what follows."""
        name = clean(change.address)
        lines = []
        for note in change.notes:
            head, *rest = told_lines(note)
            text = head if head.startswith(name) else f"{name}: {head}"
            lines.append(f"  {self.pen.mark('.')}{text}")
            lines += [f"      {line}".rstrip() for line in rest]
        return lines

    def refusal(self, change: Change) -> str:
        """What cannot be done, with the fields that were wanted."""
        return "\n".join(refusal_rows(change, self.pen, self.wanted(change)))

    def wanted(self, change: Change) -> list[str]:
        """The fields of a refused change, as lines; none for what would be new."""
        wanted = veiled(change, with_replaced(change)) if change.action not in _NEW else ()
        return Layout(self.pen, self.width).rows(grow(wanted), _INDENT + 2)

    def unchanged(self, change: Change) -> str:
        """One line for a resource that stays as it is."""
        what = "is superseded" if change.superseded else WILL[Action.NO_OP]
        if change.reason:
            what += f" ({clean(change.reason)})"
        if change.rebase:
            what += " (its record will be brought up to date)"
        return self.pen(f"  # {clean(change.address)} {what}", "dim")


def why(change: Change) -> str:
    """The reason under a heading; "" where the heading says it."""
    # The heading of a recreate says already that the object is missing.
    return "" if change.reason == "missing" else change.reason


def package_line(change: Change) -> str:
    """What a create uploads, from the change's extras."""
    package = change.extras.get("package")
    if not isinstance(package, Mapping):
        return ""
    source, files, size = (package.get(name) for name in ("source", "files", "size"))
    parts = [f"package {source}" if isinstance(source, str) else "package"]
    if _is_count(files):
        parts.append(plural(files, "file"))
    if _is_count(size):
        parts.append(byte_size(size))
    return ", ".join(parts)


def replacement_line(replaced: Replacement) -> str:
    """`supersedes 1.0.0: 1 file added, 2 changed`."""
    head = f"supersedes {replaced.version}"
    if replaced.counts is None:
        return f"{head}, whose files are not recorded"
    counts = [(verb, count) for verb, count in replaced.counts.items() if count]
    said = [
        f"{count if at else plural(count, 'file')} {verb}"
        for at, (verb, count) in enumerate(counts)
    ]
    return f"{head}: {', '.join(said) or 'the same files'}"


def replacement_lines(change: Change) -> list[str]:
    """What a new member of a series replaces: a line a file, with what is known of its lines."""
    replaced = replacement_of(change.extras)
    if replaced is None:
        return []
    lines, left = [f"({clean(replacement_line(replaced))})"], _MOST_DIFF_LINES
    for one in replaced.files[:_MOST_FILES]:
        note = f" ({clean(one.note)})" if one.note else ""
        lines.append(f"  {FILE_SIGNS[one.verb]} {clean(one.path)}{note}")
        lines += [f"      {clean(line)}" for line in one.diff[:left]]
        if len(one.diff) > left:
            lines.append(f"      ({len(one.diff) - left} more lines)")
        left = max(0, left - len(one.diff))
    if more := max(0, len(replaced.files) - _MOST_FILES) + replaced.hidden:
        lines.append(f"  ({plural(more, 'more file')})")
    return lines


def _is_count(value: Any) -> TypeGuard[int]:
    """Whether it can be a number of things; extras are whatever stands in a saved plan."""
    return isinstance(value, int) and 0 <= value < 2**63


def fields_shown(change: Change) -> Iterable[FieldChange]:
    """The fields of a change; of a whole object where the plan lists none."""
    if change.fields or change.action not in {*_NEW, Action.DELETE}:
        return veiled(change, with_replaced(change))
    gone = change.action is Action.DELETE
    whole = (change.before if gone else change.after) or {}
    secret = set(change.before_sensitive if gone else change.after_sensitive)
    shown = _whole(masked(whole, secret) or {}, gone=gone)
    return [*shown, *(_secret(path) for path in sorted(secret, key=str))]


def with_replaced(change: Change) -> Iterator[FieldChange]:
    """The fields, and what each map takes the place of: a text or a list of the whole object.

    A plan compares declared fields one by one, and nothing is declared where that stands.
    """
    told = {field.path for field in change.fields}
    marks = {*change.before_sensitive, *change.after_sensitive}
    marks |= {field.path for field in change.fields if field.sensitive}
    for field in change.fields:
        for end in range(1, len(field.path)):
            path = field.path[:end]
            if path in told:
                continue
            value = dig(change.before or {}, path)
            if value is not ABSENT and not is_map(value) and value != {}:
                told.add(path)
                # Where a map holds a secret, a text in its place may be one.
                if any(mark[:end] == path for mark in marks):
                    yield replace(_secret(path), cause=field.cause)
                else:
                    yield FieldChange(path, value, ABSENT, field.cause)
        yield field


def _whole(tree: Mapping[str, Any], *, gone: bool) -> Iterable[FieldChange]:
    for path, value in leaves(tree).items():
        before, after = (value, ABSENT) if gone else (ABSENT, value)
        yield FieldChange(path, before, after, Cause.NONE)


def _secret(path: Path) -> FieldChange:
    return FieldChange(path, ABSENT, ABSENT, Cause.NONE, sensitive=True)
