"""Texts, values and fields as HTML: whatever is in them, they are text and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from synapse_apply.model.plan import Cause, FieldChange
from synapse_apply.model.values import ABSENT, KnownAfterApply
from synapse_apply.views.differences import difference
from synapse_apply.views.diffs import DiffPen, diff_lines
from synapse_apply.views.fields import is_secret, spread, symbol_of
from synapse_apply.views.findings import dotted
from synapse_apply.views.literals import LONGEST, value_lines
from synapse_apply.views.markup import shortened
from synapse_apply.views.safety import clean, clean_lines

# What is longer is told in part; the JSON document has the whole.
MOST_LINES = 200
LARGEST_TABLE = 65_536
SENTENCES = 2000
_ROOM = 60
_LONG_PATH = 22
# One pass, so that nothing is escaped twice; `#` for the sake of runners that obey `##[error]`.
_AS_TEXT = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;", "#": "&#35;"}
)
_CODE = re.compile(r"`([^`]+)`")
_ENDS_WITH_COMMAND = re.compile(
    r"(?P<head>(?:[^\n]{0,2000}: )?)(?P<line>synapse-apply(?: [A-Za-z0-9@./=:+_-]{1,300}){1,20})"
)
# Words of a sentence that goes on behind a command.
_WORDS = re.compile(r" (?:and|or|where|with|once|to|then|for|it|the|does|shows)\b")
_COMMANDS = ("synapse-apply ", "git ")
_MARGIN = {"+": "come", "-": "gone", "!": "moved"}
_STACKED = {
    ("Before", "After"): "",
    ("Now", "Wanted"): ' class="now"',
    ("Live, kept", "Declared"): ' class="kept"',
    ("Recorded", "Live"): ' class="seen"',
}
_MOVES = {"+": "come", "-": "gone", "~": "moved"}
CAUSES = {
    Cause.GIT: "Git",
    Cause.DRIFT: "changed outside",
    Cause.BOTH: "Git and outside",
    Cause.SECRET: "secret",
}


def text(value: object, most: int = LONGEST) -> str:
    """Any text on one line, for the content of an element or a quoted attribute."""
    return clean(shortened(str(value), most)).translate(_AS_TEXT)


def command(line: str) -> str:
    """A command to be typed; the script puts a button beside it that copies it."""
    return f'<code class="command">{text(line, SENTENCES)}</code>'


def code(value: object, most: int = LONGEST) -> str:
    """A text as code."""
    return f"<code>{text(value, most)}</code>"


def prose(value: object, most: int = SENTENCES) -> str:
    """Sentences: words in backticks become code, line breaks stay."""
    lines = clean_lines(shortened(str(value).strip(), most))
    return "<br>".join(_line(line) for line in lines)


def _line(line: str) -> str:
    parts = _CODE.split(line)
    return "".join(_as_code(p) if at % 2 else text(p, SENTENCES) for at, p in enumerate(parts))


def _as_code(words: str) -> str:
    return command(words) if words.startswith(_COMMANDS) else code(words, SENTENCES)


def way_out(said: str) -> str:
    """A sentence that may end with a command, which can then be copied."""
    found = _ENDS_WITH_COMMAND.fullmatch(said)
    if found is None or _WORDS.search(found["line"]):
        return prose(said)
    return f"{prose(found['head'])} {command(found['line'])}".strip()


def paragraph(html: str, style: str = "") -> str:
    """A paragraph; "" for nothing."""
    kind = f' class="{style}"' if style else ""
    return f"<p{kind}>{html}</p>" if html else ""


def block(lines: Iterable[str]) -> str:
    """Clean lines as a block of code. Each is an element, so that none is a line of the file."""
    kept = list(lines)
    more = len(kept) - MOST_LINES
    shown = [_row(line) for line in kept[:MOST_LINES]]
    shown += [f"<span># ({more} more lines not shown here)</span>"] if more > 0 else []
    return f"<pre>{''.join(shown)}</pre>"


def _row(line: str) -> str:
    return f"<span>{text(line, 1000) or ' '}</span>"


def fields_table(
    changes: Iterable[FieldChange],
    *,
    names: tuple[str, str] = ("Before", "After"),
    secrets_as: str = "~",
) -> str:
    """A row a field: before, after, and why; "" for none."""
    parts = [part for change in changes for part in spread(change)]
    if not parts:
        return ""
    sides = _sides(parts)
    why = any(_why(part) for part in parts)
    titles = ["Field", *(names[side] if len(sides) == 2 else "Value" for side in sides)]
    titles += ["Why"] if why else []
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    rows = "".join(_within(parts, sides, secrets_as, why=why))
    # On a narrow screen the sides stand below each other, each with its name.
    style = _STACKED[names] if len(sides) == 2 else ' class="one"'
    return f"<table{style}><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _sides(parts: Sequence[FieldChange]) -> tuple[int, ...]:
    """Which of before and after there is anything to show of."""
    told = [part for part in parts if not is_secret(part)]
    if all(part.before is ABSENT for part in told):
        return (1,)
    return (0,) if all(part.after is ABSENT for part in told) else (0, 1)


def _within(
    parts: Sequence[FieldChange], sides: tuple[int, ...], secrets_as: str, *, why: bool
) -> Iterator[str]:
    """As many rows as fit, and how many more there are."""
    size = 0
    for at, part in enumerate(parts):
        row = _field(part, sides, secrets_as, why=why)
        size += len(row)
        if at and size > LARGEST_TABLE:
            span = 1 + len(sides) + why
            yield f'<tr><td colspan="{span}">({len(parts) - at} more not shown here)</td></tr>'
            return
        yield row


def _field(part: FieldChange, sides: tuple[int, ...], secrets_as: str, *, why: bool) -> str:
    style = _MOVES.get(symbol_of(part, secrets_as), "kept")
    path = text(dotted(part.path))
    # A long path breaks where a part of it ends.
    shown = path.replace(".", ".<wbr>") if len(path) > _LONG_PATH else path
    name = f'<th scope="row">{shown}</th>'
    reason = f"<td>{_why(part)}</td>" if why else ""
    return f'<tr class="{style}">{name}{_values(part, sides)}{reason}</tr>'


def _values(part: FieldChange, sides: tuple[int, ...]) -> str:
    span = f' colspan="{len(sides)}"' if len(sides) > 1 else ""
    if is_secret(part):
        note = f", {text(part.note)}" if part.note else ""
        return f'<td{span} class="secret">(sensitive{note})</td>'
    both = part.before is not ABSENT and part.after is not ABSENT
    if both and len(sides) > 1:
        lines = list(diff_lines("\n".join(difference(part.before, part.after, _ROOM, DiffPen()))))
        if any(line[:1] in _MARGIN for line in lines) or _is_long(part):
            return f"<td{span}>{_told_apart(lines)}</td>"
    held = (part.before, part.after)
    return "".join(
        f'<td class="{"after" if side else "before"}">{_cell(held[side])}</td>' for side in sides
    )


def _is_long(part: FieldChange) -> bool:
    """Whether only a part of it is shown: then the part that differs."""
    return any(isinstance(side, str) and len(side) > LONGEST for side in (part.before, part.after))


def _told_apart(lines: Sequence[str]) -> str:
    kept = lines[:MOST_LINES]
    shown = "".join(
        f'<span class="{_MARGIN[line[0]]}">{text(line, 1000)}</span>'
        if line[:1] in _MARGIN
        else _row(line)
        for line in kept
    )
    more = len(lines) - len(kept)
    tail = f"<span># ({more} more lines not shown here)</span>" if more else ""
    return f"<pre>{shown}{tail}</pre>"


def _cell(held: Any) -> str:
    """A value as people read it in a plan; code by the style of its cell, to keep pages small."""
    if held is ABSENT:
        return '<span class="none">not set</span>'
    lines = value_lines(held, _ROOM)
    return text(lines[0], 1000) if len(lines) == 1 else block(lines)


def _why(part: FieldChange) -> str:
    facts = [CAUSES[part.cause]] if part.cause in CAUSES else []
    if isinstance(part.after, KnownAfterApply):
        facts.append(f"from {code(part.after.address)}")
    elif part.note and not is_secret(part):
        facts.append(text(part.note))
    return ", ".join(facts)
