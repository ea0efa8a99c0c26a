"""The rename map: `tests/house/renames/*.tsv`, the names that a words-only commit may change.

A row has two columns, `where` and the new name, and names what it renames as it is called before
any rename: `module:name`, `module:Class.member`, `module:function/local`; or it names a module and
where that moves to. A row of three columns, `module`, old and new text, is a text that changes with
a name (`*` as module: anywhere).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

_DOTTED = re.compile(r"\b(?:synapse_apply|tests)(?:\.\w+)+")
_FILE = re.compile(r"(?<![\w/.-])(?:\w+/)+\w+\.py\b")


@dataclass
class RenameMap:
    """New names by `where`, and what is asked of them without knowing where."""

    rows: dict[str, str] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)
    texts: set[tuple[str, str, str]] = field(default_factory=set)
    members: set[tuple[str, str]] = field(default_factory=set)
    parameters: set[tuple[str, str]] = field(default_factory=set)

    def new_name_of(self, where: str) -> str | None:
        """What a thing is called after; None where it keeps its name."""
        return self.rows.get(where)

    def explains_text(self, module: str, old: str, new: str) -> bool:
        """Whether a row has these texts, or they differ by dotted paths that were renamed."""
        if {(module, old, new), ("*", old, new)} & self.texts:
            return True
        return _DOTTED.sub(lambda match: self._rename_dotted(match[0]), old) == new

    def move_module(self, name: str) -> str:
        """Where a module is after its move, or one below a folder that moves."""
        head, dot, tail = name.rpartition(".")
        if name in self.modules:
            return self.modules[name]
        return f"{self.move_module(head)}{dot}{tail}" if head else name

    def move_text(self, module: str, text: str) -> str:
        """A text with the dotted and the file names of modules as they are after the moves."""
        for new in (
            new for where, old, new in self.texts if where in (module, "*") and old == text
        ):
            return new
        text = _DOTTED.sub(lambda match: self.move_module(match[0]), text)
        return _FILE.sub(self._move_file, text)

    def _move_file(self, match: re.Match[str]) -> str:
        prefix = "synapse_apply/" if not match[0].startswith(("synapse_apply/", "tests/")) else ""
        name = f"{prefix}{match[0]}".removesuffix(".py").replace("/", ".")
        return f"{self.move_module(name).replace('.', '/')}.py".removeprefix(prefix)

    def _rename_dotted(self, dotted: str) -> str:
        """A dotted path with each part that has a row renamed."""
        parts = dotted.split(".")
        renamed = list(parts)
        for split in range(1, len(parts)):
            for end in range(split + 1, len(parts) + 1):
                where = f"{'.'.join(parts[:split])}:{'.'.join(parts[split:end])}"
                renamed[end - 1] = self.rows.get(where, renamed[end - 1])
        return ".".join(renamed)


def read_rename_map(folder: Path) -> RenameMap:
    """All rows of a folder; it ends the program where a row is none, or two disagree."""
    texts = {path: path.read_text("utf-8") for path in sorted(folder.glob("*.tsv"))}
    lines = {
        f"{path.name}:{number}": line
        for path, text in texts.items()
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.startswith("#")
    }
    return parse_rename_map(lines)


def parse_rename_map(lines: Mapping[str, str]) -> RenameMap:
    """The map of lines, by their positions."""
    renames, first = RenameMap(), {}
    for position, line in lines.items():
        columns = line.split("\t")
        if len(columns) == 3:
            renames.texts.add((columns[0], columns[1], columns[2]))
            continue
        if len(columns) != 2:
            raise SystemExit(f"{position}: not `module:name`, a tab and the new name: {line}")
        where, new = columns[0].strip(), columns[1].strip()
        if ":" not in where:
            renames.modules[where] = new
            continue
        if first.setdefault(where, new) != new:
            raise SystemExit(f"{position}: {where} is renamed twice: {first[where]}, {new}")
    for where, new in first.items():
        old = re.split(r"[.:/]", where)[-1]
        pairs = renames.parameters if "/" in where else renames.members
        pairs.add((old, new))
        for spelling in _spellings(where, first):
            renames.rows[spelling] = new
    return renames


def _spellings(where: str, rows: Mapping[str, str]) -> Iterable[str]:
    """A row's left side, as it is before and after what is around the name was renamed itself."""
    module, _, rest = where.partition(":")
    full = module if module.startswith(("synapse_apply", "tests")) else f"tests.{module}"
    qualified, slash, local = rest.partition("/")
    parts = qualified.split(".")
    outer, own = (parts, []) if slash else (parts[:-1], parts[-1:])
    choices = [
        {part, rows.get(f"{module}:{'.'.join(parts[: end + 1])}", part)}
        for end, part in enumerate(outer)
    ]
    for chosen in product(*choices):
        yield f"{full}:{'.'.join([*chosen, *own])}{slash}{local}"
