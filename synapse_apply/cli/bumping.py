"""What `bump` edited, as a person and as a program reads it."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Any

from synapse_apply.manifests.rewriting import Rewrite
from synapse_apply.model.aim import aimed
from synapse_apply.model.diagnostic import pointer
from synapse_apply.packages.sources import FOLDER, GIT
from synapse_apply.session.bump import Bumped
from synapse_apply.views.pen import Pen
from synapse_apply.views.safety import clean, disarm

# A file may hold a whole document in one line, of which only the part that changed is of interest.
_LONGEST, _AROUND = 100, 30


def document(made: Bumped, *, written: bool) -> dict[str, Any]:
    """Both addresses, and each edit with the value before and after."""
    return {
        "before": str(made.before),
        "after": str(made.after),
        "version": made.version,
        "written": written,
        "edits": [
            {"file": name, "path": pointer(edit.path), "before": before, "after": edit.value}
            for name, edit, before in made.edits
        ],
    }


def text(made: Bumped, *, written: bool, color: bool, hints: bool, aim: str = "") -> str:
    """The lines that changed, by file, and what comes next; `aim` is the target that was typed."""
    pen = Pen(color)
    lines = [f"{clean(made.before)} -> {clean(made.after)}"]
    for file in made.files:
        lines += ["", *_lines(file, pen)]
    if not written:
        lines += ["", "Nothing was written (--dry-run)."]
    elif hints:
        lines += ["", *_next(made, aim)]
    return disarm("\n".join(lines) + "\n")


def _lines(file: Rewrite, pen: Pen) -> Iterator[str]:
    before = file.before.decode().splitlines()
    after = file.after.decode().splitlines()
    for verb, i, j, k, m in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if verb == "equal":
            continue
        yield pen(f"  {clean(file.name)}:{i + 1}", "bold")
        old, new = _excerpts(before[i:j], after[k:m])
        for sign, lines in (("-", old), ("+", new)):
            yield from (f"  {pen(sign, sign)} {clean(line)}".rstrip() for line in lines)


def _excerpts(old: list[str], new: list[str]) -> tuple[list[str], list[str]]:
    """The lines, of long ones the part that changed."""
    if len(old) != 1 or len(new) != 1 or max(map(len, (*old, *new))) <= _LONGEST:
        return [_short(line) for line in old], [_short(line) for line in new]
    one, other = old[0], new[0]
    pairs = zip(one, other, strict=False)
    same = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
    left = max(0, same - _AROUND)
    return [_short(one[left:], left > 0)], [_short(other[left:], left > 0)]


def _short(line: str, cut: bool = False) -> str:
    return ("…" if cut else "") + (line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…")


def _next(made: Bumped, aim: str) -> Iterator[str]:
    version = made.version
    edited = {edit.path[-1] for _, edit, _ in made.edits}
    if made.changelog and "changelog" not in edited:
        yield f"The changelog still says {_short(clean(made.changelog))!r}; -m TEXT sets it."
    for source in made.sources:
        if source.kind == GIT:
            yield (
                f"The source is still {clean(source.path)} at {clean(source.ref)}: tag the code "
                f"of {version}, and name that tag as ref."
            )
        elif source.kind != FOLDER:
            yield f"The source is {clean(source)}: see that it holds the code of {version}."
    yield aimed("Next: `synapse-apply plan` shows the new release.", aim)
