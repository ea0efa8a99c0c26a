"""How YAML text becomes documents with positions, or findings; no input raises an exception.

YAML 1.2 core scalars. Refused, each with a place and a hint: text that is not UTF-8, control
characters, tabs as indentation, tags, merge keys, duplicate keys, keys that are not strings,
alias bombs. A broken document does not hide the documents after it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from functools import lru_cache
from typing import Any

import yaml
from yaml import events

from synapse_apply.manifests.phrases import FILL_IN
from synapse_apply.manifests.yaml import read_scalars
from synapse_apply.manifests.yaml.plain_documents import compose_plain_documents
from synapse_apply.manifests.yaml.positions import (
    LazyPositions,
    Mark,
    PositionTree,
    build_position,
    pack_mark,
    unpack_mark,
)
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, Position, error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.runtime.paused_collection import pause_gc

# Compiled at its first use: that takes longer than reading a usual file.
_CONTROL_CHARACTER = (
    r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_NEXT_DOCUMENT = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_MAX_RESTARTS = 50
_BOM = "\ufeff"


@frozen
class SourceText:
    """A text, its file name in findings, and whether `${` and FILL_IN occur in it at all."""

    file: str
    text: str = field(repr=False)
    has_variables: bool = False
    has_fill_in: bool = False

    def scalar_text(self, position: Position, value: Any) -> str:
        """How a scalar value at a key's or item's position is written.

        Its usual text where unclear.
        """
        lines = _split_lines(self.text)
        line = lines[position.line - 1] if position.line <= len(lines) else ""
        line_rest = line[position.column - 1 :]
        # A position is that of the key, or of the item of a list.
        for candidate in (line_rest.partition(":")[2], line_rest):
            candidate_text = re.split(r"[,}\]\s#]", candidate.strip(), maxsplit=1)[0]
            if candidate_text and _parses_to_same(candidate_text, value):
                return candidate_text
        return str(value).lower() if isinstance(value, bool) else str(value)

    def get_line_and_preceding(self, number: int) -> str:
        """The line before a line (empty for the first) and the line, which is counted from 1."""
        lines = ["", *_split_lines(self.text)[max(number - 2, 0) : number]]
        return "\n".join(lines[-2:])


@lru_cache(maxsize=2)
def _split_lines(text: str) -> list[str]:
    """A text's lines, cached for the next finding: a large file may have thousands of them."""
    return text.split("\n")


def _parses_to_same(text: str, value: Any) -> bool:
    try:
        parsed = read_scalars.parse_plain_scalar(text)
    except read_scalars.NotJsonNumber:
        return False
    return type(parsed) is type(value) and bool(parsed == value)


@frozen
class Document:
    """One document of a file: a JSON value, and the positions of its parts."""

    value: Any = field(repr=False)
    position_tree: PositionTree = field(repr=False)
    source: SourceText

    @property
    def positions(self) -> LazyPositions:
        return LazyPositions(self.source.file, self.position_tree)

    @property
    def position(self) -> Position:
        return build_position(self.source.file, self.position_tree)


@frozen
class ReadResult:
    """The documents of a text (without empty ones) and the findings."""

    documents: tuple[Document, ...]
    diagnostics: tuple[Diagnostic, ...]


def read_documents(data: bytes | str, file: str) -> ReadResult:
    """Read every document of a text; problems are in the result, and nothing is raised."""
    text, findings = _decode_text_or_finding(data, file)
    if text is None:
        return ReadResult((), tuple(findings))
    reader = _YamlReader(SourceText(file, text, "${" in text, FILL_IN in text))
    with pause_gc():
        reader.collect_documents_past_broken_ones()
    return ReadResult(tuple(reader.documents), (*findings, *reader.findings))


def read_single_mapping(
    data: bytes | str, file: str
) -> tuple[Mapping[str, Any], Mapping[FieldPath, Position]]:
    """The mapping of a text that holds one document, empty for an empty text, and its positions.

    Raises InputError with every finding. Other layers are given this as their YAML reader.
    """
    value, positions, findings = parse_single_mapping(data, file)
    if findings:
        raise InputError(*findings)
    return value, positions


def parse_single_mapping(
    data: bytes | str, file: str
) -> tuple[Mapping[str, Any], Mapping[FieldPath, Position], tuple[Diagnostic, ...]]:
    """As `read_single_mapping`, returning the findings in place of raising them."""
    reading = read_documents(data, file)
    findings = list(reading.diagnostics)
    findings.extend(iter_extra_document_error(reading, file))
    if not reading.documents:
        return {}, {(): Position(file, 1, 1)}, tuple(findings)
    first = reading.documents[0]
    if isinstance(first.value, dict):
        return first.value, first.positions, tuple(findings)
    detail = f"{file} holds {describe_value_kind(first.value)} where KEY: VALUE lines are expected"
    findings.append(
        error_finding("Not a mapping", detail, "begin with a key", position=first.position)
    )
    return {}, first.positions, tuple(findings)


def iter_extra_document_error(reading: ReadResult, file: str) -> Iterator[Diagnostic]:
    """An error at the second document of a text that should hold one."""
    for second in reading.documents[1:2]:
        yield error_finding(
            "More than one document",
            f"{file} holds {len(reading.documents)} documents where one is expected",
            "move the others to files of their own",
            position=second.position,
        )


def describe_value_kind(value: Any) -> str:
    """The type of a JSON value in words, such as `a list`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "a list" if isinstance(value, list) else "a mapping"


def _decode_text_or_finding(data: bytes | str, file: str) -> tuple[str | None, list[Diagnostic]]:
    if isinstance(data, str):
        text = data
        if not text.isascii():
            # A str may hold lone surrogates, which libyaml cannot take.
            text = text.encode("utf-8", "replace").decode("utf-8")
        return text.removeprefix(_BOM), []
    try:
        return data.decode("utf-8").removeprefix(_BOM), []
    except UnicodeDecodeError as problem:
        preceding = data[: problem.start]
        line = preceding.count(b"\n")
        column = len(preceding.rpartition(b"\n")[2].decode("utf-8", "replace"))
        is_utf16 = data[:2] in {b"\xff\xfe", b"\xfe\xff"}
        return None, [
            error_finding(
                "Not UTF-8",
                f"byte 0x{data[problem.start]:02x} at offset {problem.start} is not UTF-8 text"
                + (" (the file is UTF-16)" if is_utf16 else ""),
                "save the file as UTF-8",
                position=Position(file, line + 1, column + 1),
            )
        ]


class _YamlReader:
    """Reads one text, starting again at the next document behind a broken one."""

    def __init__(self, source: SourceText) -> None:
        self.source = source
        self.documents: list[Document] = []
        self.findings: list[Diagnostic] = []

    def collect_documents_past_broken_ones(self) -> None:
        """Read all documents and findings; behind a broken document from the next `---` on."""
        text = self.source.text
        start = 0
        # Each restart reads the rest anew, so a file of broken documents would take quadratic time.
        for _ in range(_MAX_RESTARTS):
            first_line = text.count("\n", 0, start)
            broken_line = self._read_until_broken(text[start:] if start else text, first_line)
            if broken_line is None:
                return
            next_start = self._next_document_offset(text, start, broken_line)
            if next_start is None:
                return
            start = next_start
        self._report_finding(
            "Too many syntax errors",
            f"the rest of the file is not read after {_MAX_RESTARTS} of them",
            "mend these first",
            pack_mark(text.count("\n", 0, start), 0),
        )

    def _next_document_offset(self, text: str, start: int, line: int) -> int | None:
        """The offset of the first `---` at or below a line, always beyond `start`."""
        offset = 0
        for _ in range(line):
            offset = text.find("\n", offset) + 1 or len(text)
        # Beyond `start` in any case, so that each restart makes progress.
        match = _NEXT_DOCUMENT.search(text, max(offset, start + 1))
        return match.start() if match else None

    def _read_until_broken(self, text: str, first_line: int) -> int | None:
        """Read documents to the end (None), or to a broken one (the problem's line, from 0)."""
        # A quick test: the pattern is searched only in texts that may hold such a character.
        if not text.isascii() or "\x00" in text or "\x1b" in text:
            text = self._replace_control_characters(text, first_line)
        plain_documents = compose_plain_documents(text, first_line)
        if plain_documents is not None:
            self._add_documents(plain_documents)
            return None
        # Here, not above: most texts are plain.
        from synapse_apply.manifests.yaml.builder import (  # noqa: PLC0415
            Builder,
            UnreadableDocument,
            create_yaml_parser,
        )
        from synapse_apply.manifests.yaml.syntax import build_syntax_finding  # noqa: PLC0415

        last_mark = pack_mark(first_line, 0)

        def record_finding(summary: str, detail: str, hint: str, finding_mark: Mark) -> None:
            nonlocal last_mark
            last_mark = finding_mark
            self._report_finding(summary, detail, hint, finding_mark)

        try:
            parser = create_yaml_parser(text)
            builder = Builder(parser.get_event, record_finding, first_line)
            self._read_documents_of_parser(parser, builder.build_document)
        except UnreadableDocument:
            return unpack_mark(last_mark)[0] - 1
        except yaml.reader.ReaderError:
            cleaned = self._replace_control_characters(text, first_line)
            # Characters were replaced by U+FFFD, so the second attempt cannot fail in the same way.
            return self._read_until_broken(cleaned, first_line) if cleaned != text else first_line
        except yaml.MarkedYAMLError as problem:
            finding, line = build_syntax_finding(
                problem, self.source.file, self.source.text, first_line
            )
            self.findings.append(finding)
            return line
        return None

    def _read_documents_of_parser(
        self, parser: Any, build_document: Callable[[], tuple[Any, PositionTree]]
    ) -> None:
        while True:
            event_type = type(parser.get_event())
            if event_type is events.StreamEndEvent:
                return
            if event_type is events.DocumentStartEvent:
                self._add_documents([build_document()])

    def _add_documents(self, documents: Iterable[tuple[Any, PositionTree]]) -> None:
        self.documents.extend(
            Document(value, tree, self.source) for value, tree in documents if value is not None
        )

    def _report_finding(self, summary: str, detail: str, hint: str, finding_mark: Mark) -> None:
        position = LazyPositions(self.source.file, finding_mark)[()]
        self.findings.append(error_finding(summary, detail, hint, position=position))

    def _replace_control_characters(self, text: str, first_line: int) -> str:
        match = re.search(_CONTROL_CHARACTER, text)
        if match is None:
            return text
        preceding = text[: match.start()]
        line, column = preceding.count("\n"), len(preceding.rpartition("\n")[2])
        self._report_finding(
            "Control character",
            f"the character U+{ord(match[0]):04X} cannot stand in YAML",
            f'remove it, or write it as an escape in a quoted text: "\\u{ord(match[0]):04x}"',
            pack_mark(first_line + line, column),
        )
        return re.sub(_CONTROL_CHARACTER, "\ufffd", text)
