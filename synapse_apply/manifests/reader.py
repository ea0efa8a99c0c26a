"""YAML text to documents with positions; whatever the bytes are, the answer is diagnostics.

YAML 1.2 core scalars. Refused, each with a place and a hint: text that is not UTF-8, control
characters, tabs as indentation, tags, merge keys, duplicate keys, keys that are not strings,
alias bombs. A broken document does not hide the documents after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from functools import lru_cache
from typing import Any

import yaml
from yaml import events

from synapse_apply.manifests import scalars
from synapse_apply.manifests.builder import Broken, Builder, parser_for
from synapse_apply.manifests.places import Mark, Place, Positions, mark, position_of, unmarked
from synapse_apply.manifests.syntax import explain_syntax
from synapse_apply.manifests.wording import FILL_IN
from synapse_apply.model.diagnostic import Diagnostic, Path, Position, error
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.unhurried import unhurried_gc

# Not compiled before a text asks for it: that takes longer than to read the usual file.
_CONTROL = r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
_NEXT_DOCUMENT = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_MOST_RESTARTS = 50
_BOM = "\ufeff"


@frozen
class Source:
    """A text, the name its findings carry, and whether `${` and FILL_IN stand in it at all."""

    file: str
    text: str = field(repr=False)
    has_variables: bool = False
    has_gaps: bool = False

    def scalar_text(self, position: Position, value: Any) -> str:
        """How an unquoted scalar was written at a key's (or item's) position, if it shows."""
        lines = _lines(self.text)
        line = lines[position.line - 1] if position.line <= len(lines) else ""
        rest = line[position.column - 1 :]
        for candidate in (rest.partition(":")[2], rest):
            written = re.split(r"[,}\]\s#]", candidate.strip(), maxsplit=1)[0]
            if written and _reads_as(written, value):
                return written
        return str(value).lower() if isinstance(value, bool) else str(value)

    def line_and_the_one_above(self, number: int) -> str:
        """A line of the text (from 1), behind the one above it, which is empty for the first."""
        lines = ["", *_lines(self.text)[max(number - 2, 0) : number]]
        return "\n".join(lines[-2:])


@lru_cache(maxsize=2)
def _lines(text: str) -> list[str]:
    """A file's lines, kept for the next finding: a large file may have thousands."""
    return text.split("\n")


def _reads_as(written: str, value: Any) -> bool:
    try:
        read = scalars.plain(written)
    except scalars.NotJson:
        return False
    return type(read) is type(value) and bool(read == value)


@frozen
class Document:
    """One document of a file: JSON values, and the place of each."""

    value: Any = field(repr=False)
    place: Place = field(repr=False)
    source: Source

    @property
    def positions(self) -> Positions:
        return Positions(self.source.file, self.place)

    @property
    def position(self) -> Position:
        return position_of(self.source.file, self.place)


@frozen
class Reading:
    """What a text held: its documents (empty ones left out) and the findings."""

    documents: tuple[Document, ...]
    diagnostics: tuple[Diagnostic, ...]


def read(data: bytes | str, file: str) -> Reading:
    """Every document of a text; raises nothing."""
    text, findings = _decode(data, file)
    if text is None:
        return Reading((), tuple(findings))
    reader = _Reader(Source(file, text, "${" in text, FILL_IN in text))
    with unhurried_gc():
        reader.run()
    return Reading(tuple(reader.documents), (*findings, *reader.findings))


def read_mapping(data: bytes | str, file: str) -> tuple[Mapping[str, Any], Mapping[Path, Position]]:
    """The one mapping of a text, empty when there is none, and its positions.

    InputError carries every finding. Other layers get this as their YAML reader.
    """
    value, positions, findings = mapping_of(data, file)
    if findings:
        raise InputError(*findings)
    return value, positions


def mapping_of(
    data: bytes | str, file: str
) -> tuple[Mapping[str, Any], Mapping[Path, Position], tuple[Diagnostic, ...]]:
    """As `read_mapping`, with the findings beside what could be read."""
    reading = read(data, file)
    findings = list(reading.diagnostics)
    findings.extend(more_than_one(reading, file))
    if not reading.documents:
        return {}, {(): Position(file, 1, 1)}, tuple(findings)
    first = reading.documents[0]
    if isinstance(first.value, dict):
        return first.value, first.positions, tuple(findings)
    detail = f"{file} holds {kind_of(first.value)} where KEY: VALUE lines are expected"
    findings.append(error("Not a mapping", detail, "begin with a key", position=first.position))
    return {}, first.positions, tuple(findings)


def more_than_one(reading: Reading, file: str) -> Iterator[Diagnostic]:
    """A finding when a text that should hold one document holds more."""
    for second in reading.documents[1:2]:
        yield error(
            "More than one document",
            f"{file} holds {len(reading.documents)} documents where one is expected",
            "move the others to files of their own",
            position=second.position,
        )


def kind_of(value: Any) -> str:
    """What a value is, in words for a message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "a list" if isinstance(value, list) else "a mapping"


def _decode(data: bytes | str, file: str) -> tuple[str | None, list[Diagnostic]]:
    if isinstance(data, str):
        text = data
        if not text.isascii():
            text = text.encode("utf-8", "replace").decode("utf-8")
        return text.removeprefix(_BOM), []
    try:
        return data.decode("utf-8").removeprefix(_BOM), []
    except UnicodeDecodeError as problem:
        before = data[: problem.start]
        line = before.count(b"\n")
        column = len(before.rpartition(b"\n")[2].decode("utf-8", "replace"))
        utf16 = data[:2] in {b"\xff\xfe", b"\xfe\xff"}
        return None, [
            error(
                "Not UTF-8",
                f"byte 0x{data[problem.start]:02x} at offset {problem.start} is not UTF-8 text"
                + (" (the file is UTF-16)" if utf16 else ""),
                "save the file as UTF-8",
                position=Position(file, line + 1, column + 1),
            )
        ]


class _Reader:
    """Reads one source, starting again behind what is broken."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.documents: list[Document] = []
        self.findings: list[Diagnostic] = []

    def run(self) -> None:
        text = self.source.text
        start = 0
        for _ in range(_MOST_RESTARTS):
            first_line = text.count("\n", 0, start)
            broken_at = self._read_from(text[start:] if start else text, first_line)
            if broken_at is None:
                return
            following = self._document_after(text, start, broken_at)
            if following is None:
                return
            start = following
        self._report(
            "Too many syntax errors",
            f"the rest of the file is not read after {_MOST_RESTARTS} of them",
            "mend these first",
            mark(text.count("\n", 0, start), 0),
        )

    def _document_after(self, text: str, start: int, line: int) -> int | None:
        """The offset of the first `---` at or below a line, always beyond `start`."""
        offset = 0
        for _ in range(line):
            offset = text.find("\n", offset) + 1 or len(text)
        found = _NEXT_DOCUMENT.search(text, max(offset, start + 1))
        return found.start() if found else None

    def _read_from(self, text: str, first_line: int) -> int | None:
        """Read documents until the end (None) or what is broken (its line, from 0)."""
        if not text.isascii() or "\x00" in text or "\x1b" in text:
            text = self._without_control_characters(text, first_line)
        last = mark(first_line, 0)

        def report(summary: str, detail: str, hint: str, at: Mark) -> None:
            nonlocal last
            last = at
            self._report(summary, detail, hint, at)

        try:
            parser = parser_for(text)
            builder = Builder(parser.get_event, report, first_line)
            self._documents(parser, builder)
        except Broken:
            return unmarked(last)[0] - 1
        except yaml.reader.ReaderError:
            cleaned = self._without_control_characters(text, first_line)
            return self._read_from(cleaned, first_line) if cleaned != text else first_line
        except yaml.MarkedYAMLError as problem:
            finding, line = explain_syntax(problem, self.source.file, self.source.text, first_line)
            self.findings.append(finding)
            return line
        return None

    def _documents(self, parser: Any, builder: Builder) -> None:
        while True:
            kind = type(parser.get_event())
            if kind is events.StreamEndEvent:
                return
            if kind is events.DocumentStartEvent:
                value, place = builder.document()
                if value is not None:
                    self.documents.append(Document(value, place, self.source))

    def _report(self, summary: str, detail: str, hint: str, at: Mark) -> None:
        position = Positions(self.source.file, at)[()]
        self.findings.append(error(summary, detail, hint, position=position))

    def _without_control_characters(self, text: str, first_line: int) -> str:
        found = re.search(_CONTROL, text)
        if found is None:
            return text
        before = text[: found.start()]
        line, column = before.count("\n"), len(before.rpartition("\n")[2])
        self._report(
            "Control character",
            f"the character U+{ord(found[0]):04X} cannot stand in YAML",
            f'remove it, or write it as an escape in a quoted text: "\\u{ord(found[0]):04x}"',
            mark(first_line + line, column),
        )
        return re.sub(_CONTROL, "\ufffd", text)
