"""What `bump` prints of its edits, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher

from synapse_apply import Invocation
from synapse_apply.cli.params.invocation_options import add_invocation_options
from synapse_apply.library import BumpResult, Rewrite
from synapse_apply.model.command import Command, Text
from synapse_apply.model.resource import FOLDER, GIT
from synapse_apply.views.sanitize import escape_ci_commands, sanitize
from synapse_apply.views.text.style import Style

# A file may hold a whole document in one line, of which only the part that changed is of interest.
_MAX_LINE_LENGTH, _CONTEXT_LENGTH = 100, 30


def format_bump_result(
    bump_result: BumpResult,
    invocation: Invocation,
    *,
    is_written: bool,
    color: bool,
    shows_hints: bool,
) -> str:
    """The changed lines by file, and the next steps with the location options of `invocation`."""
    style = Style(color)
    lines = [f"{sanitize(bump_result.old_address)} -> {sanitize(bump_result.new_address)}"]
    for file in bump_result.rewrites:
        lines += ["", *_iter_changed_lines(file, style)]
    if not is_written:
        lines += ["", "Nothing was written (--dry-run)."]
    elif shows_hints:
        lines += ["", *_iter_next_steps(bump_result, invocation)]
    return escape_ci_commands("\n".join(lines) + "\n")


def _iter_changed_lines(file: Rewrite, style: Style) -> Iterator[str]:
    old_lines = file.old_content.decode().splitlines()
    new_lines = file.new_content.decode().splitlines()
    # Without autojunk: in files of 200 lines or more it ignores frequent lines (difflib).
    for verb, i, j, k, m in SequenceMatcher(
        None, old_lines, new_lines, autojunk=False
    ).get_opcodes():
        if verb == "equal":
            continue
        yield style(f"  {sanitize(file.name)}:{i + 1}", "bold")
        old, new = _shorten_around_change(old_lines[i:j], new_lines[k:m])
        for sign, lines in (("-", old), ("+", new)):
            yield from (f"  {style(sign, sign)} {sanitize(line)}".rstrip() for line in lines)


def _shorten_around_change(old: list[str], new: list[str]) -> tuple[list[str], list[str]]:
    """The old and new lines; of a single long line the part around its change."""
    if len(old) != 1 or len(new) != 1 or max(map(len, (*old, *new))) <= _MAX_LINE_LENGTH:
        return [_shorten_line(line) for line in old], [_shorten_line(line) for line in new]
    old_line, new_line = old[0], new[0]
    char_pairs = zip(old_line, new_line, strict=False)
    common_length = next(
        (n for n, (a, b) in enumerate(char_pairs) if a != b), min(len(old_line), len(new_line))
    )
    cut_start = max(0, common_length - _CONTEXT_LENGTH)
    return [_shorten_line(old_line[cut_start:], cut_start > 0)], [
        _shorten_line(new_line[cut_start:], cut_start > 0)
    ]


def _shorten_line(line: str, is_start_cut: bool = False) -> str:
    return ("…" if is_start_cut else "") + (
        line if len(line) <= _MAX_LINE_LENGTH else line[: _MAX_LINE_LENGTH - 1] + "…"
    )


def _iter_next_steps(bump_result: BumpResult, invocation: Invocation) -> Iterator[str]:
    new_version = bump_result.new_version
    edited_fields = {edit.path[-1] for _, edit, _ in bump_result.edits}
    if bump_result.changelog and "changelog" not in edited_fields:
        yield (
            f"The changelog still says {_shorten_line(sanitize(bump_result.changelog))!r}; -m "
            f"TEXT sets it."
        )
    for source in bump_result.sources:
        if source.kind == GIT:
            yield (
                f"The source is still {sanitize(source.path)} at {sanitize(source.ref)}: tag the "
                f"code of {new_version}, and name that tag as ref."
            )
        elif source.kind != FOLDER:
            yield f"The source is {sanitize(source)}: see that it holds the code of {new_version}."
    yield add_invocation_options(
        Text("Next: ", Command("plan"), " shows the new release."), invocation
    )
