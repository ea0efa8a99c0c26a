"""How YAML text becomes documents with positions, or findings; no input raises an exception.

YAML 1.2 core scalars. Refused, each with a place and a hint: text that is not UTF-8, control
characters, tabs as indentation, tags, merge keys, duplicate keys, keys that are not strings,
alias bombs. A broken document does not hide the documents after it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from functools import cache, lru_cache
from typing import Any

import yaml
from yaml import events
from yaml.nodes import MappingNode, ScalarNode, SequenceNode

from synapse_apply.model.diagnostic import Diagnostic, FieldPath, Position, error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.lazy_patterns import lazy_pattern
from synapse_apply.model.paused_collection import pause_gc

# A mark packs line and column (both from 0) into one integer. A position tree is a mark, or for a
# map or list the pair of its mark and the trees inside. Small integers keep large files cheap.
Mark = int
PositionTree = Any
COLUMN_BITS = 32
_COLUMN_MASK = (1 << COLUMN_BITS) - 1


def pack_mark(line: int, column: int) -> Mark:
    """Line and column, both from 0, as one integer."""
    return line << COLUMN_BITS | column


def build_position(file: str, tree: PositionTree) -> Position:
    """The Position of the root of a position tree."""
    packed = tree[0] if type(tree) is tuple else tree
    return Position(file, (packed >> COLUMN_BITS) + 1, (packed & _COLUMN_MASK) + 1)


class Positions(Mapping[FieldPath, Position]):
    """Maps the path of each part of a document to its Position; never empty."""

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        # Without this, a test for truth would count all positions through __len__.
        return True


class LazyPositions(Positions):
    """Positions that are built when asked for: most never are."""

    __slots__ = ("_file", "_root")

    def __init__(self, file: str, root: PositionTree) -> None:
        """`root` is the document's position tree."""
        self._file = file
        self._root = root

    def __getitem__(self, path: FieldPath) -> Position:
        node = self._root
        for part in path:
            children: Any = node[1] if isinstance(node, tuple) else ()
            if (
                part in children
                if isinstance(children, dict)
                else (isinstance(part, int) and 0 <= part < len(children))
            ):
                node = children[part]
            else:
                raise KeyError(path)
        return build_position(self._file, node)

    def __iter__(self) -> Iterator[FieldPath]:
        pending: list[tuple[FieldPath, PositionTree]] = [((), self._root)]
        while pending:
            path, node = pending.pop()
            yield path
            children = node[1] if isinstance(node, tuple) else ()
            pairs = children.items() if isinstance(children, dict) else enumerate(children)
            pending.extend(((*path, part), child) for part, child in pairs)


VALUE_FROM = "valueFrom"
FILL_IN = "CHANGE-ME"  # `synapse-apply init` writes it where the user has to give a value
ONLY_FOR_SECRETS = "valueFrom is only for secret fields"


# Which unquoted scalars are numbers, booleans or null: YAML 1.2 core schema, only clear cases.
#
# `no`, `on`, `0755`, `1_000`, `12:30:45` and dates stay strings: only what has one meaning becomes
# a number. Integers are exact.

NULL_TEXTS = ("", "~", "null", "Null", "NULL")
_KEYWORD_VALUES: dict[str, bool | None] = {
    **dict.fromkeys(NULL_TEXTS),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMERIC_FIRST_CHARS = frozenset("+-.0123456789")
# What a scalar that is no string can begin with.
NON_STRING_FIRST_CHARS = _NUMERIC_FIRST_CHARS | frozenset("~nNtTfF")
_INTEGER = lazy_pattern(r"[-+]?(?:0|[1-9][0-9]*)")
_BASED_INTEGER = lazy_pattern(r"0o([0-7]+)|0x([0-9a-fA-F]+)")
_FLOAT = lazy_pattern(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = lazy_pattern(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
# Python refuses int() of more than 4300 digits (sys.set_int_max_str_digits), which is quadratic.
MAX_NUMBER_LENGTH = 1000


class NotJsonNumber(ValueError):
    """A number that JSON cannot hold: infinite, or not a number."""


class TooManyDigits(NotJsonNumber):
    """A number of more than MAX_NUMBER_LENGTH characters."""


def parse_plain_scalar(text: str) -> Any:
    """The value of an unquoted scalar.

    Raises NotJsonNumber for infinities, NaN and long numbers.
    """
    if text in _KEYWORD_VALUES:
        return _KEYWORD_VALUES[text]
    return _parse_number(text) if text[0] in _NUMERIC_FIRST_CHARS else text


def _parse_number(text: str) -> int | float | str:
    if len(text) > MAX_NUMBER_LENGTH:
        if any(pattern.fullmatch(text) for pattern in (_INTEGER, _BASED_INTEGER, _FLOAT)):
            raise TooManyDigits(text)
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if match := _BASED_INTEGER.fullmatch(text):
        return int(match[1], 8) if match[1] else int(match[2], 16)
    if _NOT_FINITE.fullmatch(text):
        raise NotJsonNumber(text)
    if _FLOAT.fullmatch(text):
        value = float(text)
        # Such as 1e400, which is finite in YAML and infinite as a float.
        if math.isinf(value):
            raise NotJsonNumber(text)
        return value
    return text


_QUOTE_HINT = 'quote the text: "..."'
_SURROGATE_PAIR = r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
# (what libyaml or PyYAML says, our detail, our hint), first match wins; where a tab stands, the
# first of all.
_KNOWN_MESSAGES = (
    (
        r"character '\\t'|character that cannot start any token.*\t",
        "a tab is used where only spaces are allowed",
        "indent with spaces; YAML forbids tabs there",
    ),
    (
        r"mapping values are not allowed",
        "unexpected `: `: the line has a second one, or the line before has none",
        "indent like the line before, or quote the string that contains `: `",
    ),
    (
        r"could not find expected ':'",
        "this line has no `KEY: VALUE`",
        "add the `:`, or indent the line if it belongs to the string above",
    ),
    (
        r"unexpected end of stream|while scanning a quoted scalar",
        "a quoted string is not closed",
        "close the quotes",
    ),
    (
        r"document indicator",
        "a quoted string is not closed before the next document",
        "close the quotes",
    ),
    (
        r"while parsing a flow|expected ',' or",
        "a `{` or `[` is not closed, or a comma is missing",
        'close the bracket; inside brackets write variables in quotes: "${var.NAME}"',
    ),
    (
        r"expected <block end>|block mapping|block collection",
        "the indentation does not fit the lines above",
        "indent this line like its siblings",
    ),
    (r"cannot start any token", "no YAML value can start with this character", _QUOTE_HINT),
    (
        r"unknown escape|escape",
        "an unknown escape in a double-quoted string",
        "use single quotes, or write \\\\ for a backslash",
    ),
    (
        r"nesting|depth|maximum",
        "mappings and lists are nested too deeply",
        "flatten the document",
    ),
    (r"undefined tag|tag", "the tag cannot be read", "remove the tag"),
    (r"alias|anchor", "an anchor or alias has no name", "quote the string that begins with & or *"),
    (r"", "this is not valid YAML", "compare with the examples. Quoting the string often helps"),
)


def _explain_bad_escape(escape: str) -> tuple[str, str]:
    """Detail and hint for an escape that is no character, such as half of a surrogate pair.

    JSON writes a character above U+FFFF as two escapes (RFC 8259, 7), which YAML does not allow.
    """
    pair = re.match(_SURROGATE_PAIR, escape)
    if pair is not None:
        high, low = (int(half, 16) for half in pair.groups())
        name = f"\\U{0x10000 + (high - 0xD800) * 0x400 + low - 0xDC00:08X}"
        return (
            f"{pair[0]} is a pair of surrogates: JSON allows that for one character, YAML does not",
            f"write the character itself, or {name} (in Python json.dump(..., ensure_ascii=False))",
        )
    return (
        f"{escape[:2]} comes before a number that is not a character",
        "write the character itself, or use single quotes to keep the string unchanged",
    )


# Which texts libyaml may compose as a whole: those of which there is nothing to be said.
#
# An event for each key and value costs twice as much as the nodes that libyaml's composer makes of
# them in C. It neither reads on behind a mistake nor says what is wrong, so whatever is not plain
# is left to the builder, which reads every text and gives the same for a plain one.

# Where an anchor, an alias or a tag may begin. In a quoted text it is none, which costs time only.
_ANCHOR_ALIAS_OR_TAG = lazy_pattern(r"(?:^|[\s\[{,:])[&*!]", re.MULTILINE)
# The composer goes down a level by a call in C, without a bound of its own. So many levels are a
# small part of any thread's stack. A block's level takes at least one of the characters that a
# line begins with, and a list may stand at the place of the map around it; a flow's level takes
# a bracket.
_MAX_LEADING_CHARACTERS = 60
_DEEP_LINE = lazy_pattern(rf"\n[ \t?-]{{{_MAX_LEADING_CHARACTERS}}}")
_MAX_BRACKETS = 200
# Below the builder's, so that what is too deep is left to it.
_MAX_DEPTH = 50


class _NotPlain(Exception):
    """There is something to be said of it."""


def compose_plain_documents(text: str, first_line: int) -> list[tuple[Any, PositionTree]] | None:
    """The value and the position tree of each document of a text; None where it is not plain.

    `first_line` is added to every line.
    """
    # Most texts hold none of the characters, which is told faster than by an expression.
    has_mark = "&" in text or "*" in text or "!" in text
    if (has_mark and _ANCHOR_ALIAS_OR_TAG.search(text) is not None) or _may_nest_deeply(text):
        return None
    composer_class = _plain_composer()
    if composer_class is None:
        return None
    documents = []
    try:
        composer = composer_class(text)
        while composer.check_node():
            documents.append(_convert_plain_node(composer.get_node(), first_line, _MAX_DEPTH))
    except (_NotPlain, ValueError, yaml.YAMLError):
        return None
    return documents


def _may_nest_deeply(text: str) -> bool:
    if text.count("[") + text.count("{") > _MAX_BRACKETS:
        return True
    # Lines may end otherwise, too.
    lines = text if text.isascii() and "\r" not in text else "\n".join(text.splitlines())
    return (
        _DEEP_LINE.search(lines) is not None
        or _DEEP_LINE.match("\n" + lines[:_MAX_LEADING_CHARACTERS]) is not None
    )


@cache
def _libyaml_parser() -> Any:
    """Libyaml's parser; None where PyYAML was built without it."""
    try:
        from yaml.cyaml import CParser  # type: ignore[attr-defined]  # noqa: PLC0415
    except ImportError:
        return None
    return CParser


def create_yaml_parser(text: str) -> Any:
    """An event parser of a text: libyaml's where PyYAML has it, else pure Python's (15x slower)."""
    return (_libyaml_parser() or yaml.SafeLoader)(text)


@cache
def _plain_composer() -> Any:
    """Libyaml's composer without the resolver of tags; None where there is no libyaml."""
    parser = _libyaml_parser()
    if parser is None:
        return None

    # No tag is asked for: any callable will do, and one of C takes no time.
    names = ("resolve", "descend_resolver", "ascend_resolver")
    return type("Composer", (parser,), dict.fromkeys(names, "".format))


def _convert_plain_node(node: Any, first_line: int, levels_left: int) -> tuple[Any, PositionTree]:
    """The value of a node and its position tree, as the builder makes them."""
    start = node.start_mark
    start_mark = start.line + first_line << COLUMN_BITS | start.column
    node_type = type(node)
    if node_type is ScalarNode:
        return node.value if node.style else parse_plain_scalar(node.value), start_mark
    if not levels_left:
        raise _NotPlain
    if node_type is SequenceNode:
        items = [_convert_plain_node(item, first_line, levels_left - 1) for item in node.value]
        return [item[0] for item in items], (start_mark, [item[1] for item in items])
    if node_type is not MappingNode:
        raise _NotPlain
    values: dict[str, Any] = {}
    position_trees: dict[str, PositionTree] = {}
    for key_node, value_node in node.value:
        if type(key_node) is not ScalarNode:
            raise _NotPlain
        key = key_node.value
        may_be_no_text = not key_node.style and (not key or key[0] in NON_STRING_FIRST_CHARS)
        if (
            key in values
            or (may_be_no_text and parse_plain_scalar(key) is not key)
            or (key == "<<" and not key_node.style)
        ):
            raise _NotPlain
        start = key_node.start_mark
        key_mark = start.line + first_line << COLUMN_BITS | start.column
        if type(value_node) is ScalarNode:
            text = value_node.value
            values[key] = (
                parse_plain_scalar(text)
                if not value_node.style and (not text or text[0] in NON_STRING_FIRST_CHARS)
                else text
            )
            position_trees[key] = key_mark
        else:
            values[key], tree = _convert_plain_node(value_node, first_line, levels_left - 1)
            position_trees[key] = (key_mark, tree[1])
    return values, (start_mark, position_trees)


# Compiled at its first use: that takes longer than reading a usual file.
_CONTROL_CHARACTER = (
    r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_NEXT_DOCUMENT = lazy_pattern(r"^---(?=\s|$)", re.MULTILINE)
_MAX_RESTARTS = 50
BOM = "\ufeff"


@frozen
class SourceText:
    """A text, its file name in findings, and whether `${` and FILL_IN occur in it at all."""

    file: str
    text: str = field(repr=False)
    has_variables: bool = False
    has_fill_in: bool = False

    def scalar_text(self, position: Position, value: Any) -> str:
        """How a scalar at a key's or item's position is written; its usual text where unclear."""
        line_rest = self.line_from(position)
        # A position is that of the key, or of the item of a list.
        for candidate in (line_rest.partition(":")[2], line_rest):
            candidate_text = re.split(r"[,}\]\s#]", candidate.strip(), maxsplit=1)[0]
            if candidate_text and _parses_to_same(candidate_text, value):
                return candidate_text
        return str(value).lower() if isinstance(value, bool) else str(value)

    def line_from(self, position: Position) -> str:
        """What stands in a line from a position on; "" behind the end."""
        lines = _split_lines(self.text)
        line = lines[position.line - 1] if position.line <= len(lines) else ""
        return line[position.column - 1 :]

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
        parsed = parse_plain_scalar(text)
    except NotJsonNumber:
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
    if isinstance(data, str):
        # A str may hold lone surrogates, which libyaml cannot take.
        text = data if data.isascii() else data.encode("utf-8", "replace").decode("utf-8")
    else:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as problem:
            return ReadResult((), (_not_utf8(data, problem.start, file),))
    text = text.removeprefix(BOM)
    reader = _YamlReader(SourceText(file, text, "${" in text, FILL_IN in text))
    with pause_gc():
        reader.read()
    return ReadResult(tuple(reader.documents), tuple(reader.findings))


def _not_utf8(data: bytes, start: int, file: str) -> Diagnostic:
    preceding = data[:start]
    column = len(preceding.rpartition(b"\n")[2].decode("utf-8", "replace"))
    is_utf16 = data[:2] in {b"\xff\xfe", b"\xfe\xff"}
    return error_finding(
        "Not UTF-8",
        f"byte 0x{data[start]:02x} at offset {start} is not UTF-8 text"
        + (" (the file is UTF-16)" if is_utf16 else ""),
        "save the file as UTF-8",
        position=Position(file, preceding.count(b"\n") + 1, column + 1),
    )


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
    document, findings = read_single_document(data, file)
    if document is None:
        return {}, {(): Position(file, 1, 1)}, findings
    value = document.value if isinstance(document.value, dict) else {}
    return value, document.positions, findings


def read_single_document(
    data: bytes | str, file: str
) -> tuple[Document | None, tuple[Diagnostic, ...]]:
    """The document of a text that should hold one, a mapping; None without any."""
    reading = read_documents(data, file)
    findings = [*reading.diagnostics, *iter_extra_document_error(reading, file)]
    if not reading.documents:
        return None, tuple(findings)
    first = reading.documents[0]
    if not isinstance(first.value, dict):
        kind = describe_value_kind(first.value)
        detail = f"{file} holds {kind}, but KEY: VALUE lines are expected"
        findings.append(
            error_finding("Not a mapping", detail, "begin with a key", position=first.position)
        )
    return first, tuple(findings)


def iter_extra_document_error(reading: ReadResult, file: str) -> Iterator[Diagnostic]:
    """An error at the second document of a text that should hold one."""
    for second in reading.documents[1:2]:
        yield error_finding(
            "More than one document",
            f"{file} contains {len(reading.documents)} documents, but only one is allowed",
            "move the others to separate files",
            position=second.position,
        )


_KINDS: tuple[tuple[Any, str], ...] = (
    (type(None), "null"), (bool, "a boolean"), ((int, float), "a number"),
    (str, "a string"), (list, "a list"),
)  # fmt: skip


def describe_value_kind(value: Any) -> str:
    """The type of a JSON value in words, such as `a list`."""
    return next((words for kinds, words in _KINDS if isinstance(value, kinds)), "a mapping")


MAX_DEPTH = 100
# An alias bomb of 300 bytes expands to millions of nodes ("billion laughs").
MAX_ALIASED_NODES = 100_000
_YAML_TAG_PREFIX = "tag:yaml.org,2002:"
_CORE_TAGS = frozenset(
    _YAML_TAG_PREFIX + name for name in ("str", "int", "float", "bool", "null", "map", "seq")
)
_STRING_TAGS = frozenset(("!", "tag:yaml.org,2002:str"))
_MAX_DIGITS_SHOWN = 20


class _UnreadableDocument(Exception):
    """The rest of this document cannot be read; the reason was reported at `mark`."""

    def __init__(self, mark: Mark) -> None:
        self.mark = mark


# A value, its positions, and how many values it adds to the collection around it. No type of its
# own: one is made for each key and value.
_Node = tuple[Any, PositionTree, int]


class _YamlReader:
    """Reads one text, starting again at the next document behind a broken one.

    It reads on after what no manifest needs (tags, merge keys, keys that are not strings, alias
    bombs), so that every finding is reported.
    """

    def __init__(self, source: SourceText) -> None:
        self.source = source
        self.documents: list[Document] = []
        self.findings: list[Diagnostic] = []
        # The line at which the part begins that is being read, and its next event.
        self._first_line = 0
        self._read_event: Callable[[], Any] = lambda: None
        self._anchors: dict[str, _Node] = {}
        self._open_anchors: list[str | None] = []  # one for each open collection
        self._aliased_count = 0

    def read(self) -> None:
        """Read all documents and findings; behind a broken document from the next `---` on."""
        text = self.source.text
        start = 0
        # Each restart reads the rest anew, so a file of broken documents would take quadratic time.
        for _ in range(_MAX_RESTARTS):
            self._first_line = text.count("\n", 0, start)
            broken_line = self._read_part(text[start:])
            if broken_line is None:
                return
            offset = 0
            for _ in range(broken_line):
                offset = text.find("\n", offset) + 1 or len(text)
            # Beyond `start` in any case, so that each restart makes progress.
            following = _NEXT_DOCUMENT.search(text, max(offset, start + 1))
            if following is None:
                return
            start = following.start()
        self._report(
            "Too many syntax errors",
            f"the tool stops reading the file after {_MAX_RESTARTS} errors",
            "fix these first",
            pack_mark(text.count("\n", 0, start), 0),
        )

    def _read_part(self, text: str) -> int | None:
        """Read documents to the end (None), or to a broken one (the problem's line, from 0)."""
        # A quick test: the pattern is searched only in texts that may hold such a character.
        if not text.isascii() or "\x00" in text or "\x1b" in text:
            text = self._replace_control_characters(text)
        plain_documents = compose_plain_documents(text, self._first_line)
        if plain_documents is not None:
            self._add_documents(plain_documents)
            return None
        self._aliased_count = 0
        try:
            self._read_event = create_yaml_parser(text).get_event
            while (event_type := type(self._read_event())) is not events.StreamEndEvent:
                if event_type is events.DocumentStartEvent:
                    # Anchors are valid within one document only (YAML 1.2, section 3.2.2.2).
                    self._anchors.clear()
                    self._open_anchors.clear()
                    value, tree, _ = self._build(self._read_event())
                    self._read_event()  # the document's end
                    self._add_documents([(value, tree)])
        except _UnreadableDocument as problem:
            return problem.mark >> COLUMN_BITS
        except yaml.reader.ReaderError:
            cleaned = self._replace_control_characters(text)
            # Characters were replaced by U+FFFD, so the second attempt cannot fail in the same way.
            return self._read_part(cleaned) if cleaned != text else self._first_line
        except yaml.MarkedYAMLError as problem:
            return self._report_syntax(problem)
        return None

    def _add_documents(self, documents: Iterable[tuple[Any, PositionTree]]) -> None:
        self.documents.extend(
            Document(value, tree, self.source) for value, tree in documents if value is not None
        )

    def _report(self, summary: str, detail: str, hint: str, mark: Mark) -> None:
        position = build_position(self.source.file, mark)
        self.findings.append(error_finding(summary, detail, hint, position=position))

    def _report_syntax(self, problem: yaml.MarkedYAMLError) -> int:
        """Report a syntax error; its line (from 0) in the whole text."""
        begun, end = problem.context_mark, problem.problem_mark
        mark = end or begun
        line = (mark.line if mark else 0) + self._first_line
        column = mark.column if mark else 0
        message = " ".join(part for part in (problem.context, problem.problem) if part)
        line_text = "".join(self.source.text.split("\n", line + 1)[line : line + 1])
        if "Unicode character escape" in message:
            detail, hint = _explain_bad_escape(line_text[max(column - 2, 0) :])
        else:
            is_tab = line_text[column : column + 1] == "\t"
            known = (row for row in _KNOWN_MESSAGES if is_tab or re.search(row[0], message))
            _, detail, hint = next(known)
        if begun is not None and end is not None and begun.line != end.line:
            detail += f", started at line {begun.line + self._first_line + 1}"
        if message:
            detail += f" ({message})"
        self._report("YAML syntax", detail, hint, pack_mark(line, column))
        return line

    def _replace_control_characters(self, text: str) -> str:
        match = re.search(_CONTROL_CHARACTER, text)
        if match is None:
            return text
        preceding = text[: match.start()]
        line, column = preceding.count("\n"), len(preceding.rpartition("\n")[2])
        self._report(
            "Control character",
            f"the character U+{ord(match[0]):04X} is not allowed in YAML",
            f'remove it, or write an escape in a quoted string: "\\u{ord(match[0]):04x}"',
            pack_mark(self._first_line + line, column),
        )
        return re.sub(_CONTROL_CHARACTER, "\ufffd", text)

    def _pack_mark(self, event: Any) -> Mark:
        return pack_mark(event.start_mark.line + self._first_line, event.start_mark.column)

    def _build(self, event: Any) -> _Node:
        node: _Node
        if type(event) is events.ScalarEvent:
            # `_pack_mark` and what most scalars are, written out: this runs for each of them.
            text: Any = event.value
            start: Any = event.start_mark
            mark: Mark = start.line + self._first_line << COLUMN_BITS | start.column
            is_text = event.style or (text and text[0] not in NON_STRING_FIRST_CHARS)
            if event.tag is not None or not is_text:
                text = self._read_scalar(event, mark)
            node, size = (text, mark, 0), 1
        elif type(event) is events.AliasEvent:
            return self._resolve_alias(event.anchor or "", self._pack_mark(event))
        else:
            node = self._build_collection(event, self._pack_mark(event))
            size = node[2]
        if event.anchor is not None:
            self._anchors[event.anchor] = (node[0], node[1], size)
        return node

    def _read_scalar(self, event: Any, mark: Mark) -> Any:
        text = event.value
        if event.tag is not None:
            if event.tag not in _STRING_TAGS:
                self._report_tag_unless_core(event.tag, mark)
            return text
        try:
            return parse_plain_scalar(text)
        except TooManyDigits:
            self._report(
                "Number with too many digits",
                f"{text[:_MAX_DIGITS_SHOWN]}... is a number of {len(text):,} characters, and the "
                f"limit is {MAX_NUMBER_LENGTH:,}",
                "quote it if it is a string",
                mark,
            )
        except NotJsonNumber:
            self._report(
                "Number that JSON cannot hold",
                f"{text} is infinite or not a number",
                f'quote it if it is a string: "{text}"',
                mark,
            )
        return text

    def _report_tag_unless_core(self, tag: str, mark: Mark) -> None:
        if tag not in _CORE_TAGS:
            is_core = tag.startswith(_YAML_TAG_PREFIX)
            tag_text = "!!" + tag.removeprefix(_YAML_TAG_PREFIX) if is_core else tag
            self._report(
                "Tags are not supported",
                f"the tag {tag_text} requests a type that JSON lacks",
                "remove the tag. Quote the value if it is a string",
                mark,
            )

    def _build_collection(self, event: Any, mark: Mark) -> _Node:
        if event.tag is not None and event.tag != "!":
            self._report_tag_unless_core(event.tag, mark)
        if len(self._open_anchors) >= MAX_DEPTH:
            self._report(
                "Nested too deeply",
                f"more than {MAX_DEPTH} levels of mappings and lists",
                "flatten the document",
                mark,
            )
            raise _UnreadableDocument(mark)
        self._open_anchors.append(event.anchor)
        is_map = type(event) is events.MappingStartEvent
        value, trees, size = (self._build_map if is_map else self._build_list)()
        self._open_anchors.pop()
        return value, (mark, trees), 1 + len(value) + size

    def _build_list(self) -> tuple[Any, Any, int]:
        values, trees, size = [], [], 0
        while type(event := self._read_event()) is not events.SequenceEndEvent:
            value, tree, added = self._build(event)
            values.append(value)
            trees.append(tree)
            size += added
        return values, trees, size

    def _build_map(self) -> tuple[Any, Any, int]:
        values: dict[str, Any] = {}
        trees: dict[str, PositionTree] = {}
        size = 0
        while type(event := self._read_event()) is not events.MappingEndEvent:
            key, mark, key_size = self._build(event)
            if type(event) is not events.ScalarEvent:
                mark = self._pack_mark(event)
            if type(key) is not str or key == "<<":
                key = self._read_odd_key(event, key, mark, f"(key {len(values)})")
            value, tree, added = self._build(self._read_event())
            size += key_size + added
            if key in values:
                first = build_position(self.source.file, trees[key])
                self._report(
                    "Duplicate key",
                    f"`{key}` appears a second time; the first is at line {first.line}, column "
                    f"{first.column}",
                    "keep one of the two",
                    mark,
                )
            elif key is not None:
                values[key] = value
                trees[key] = (mark, tree[1]) if type(tree) is tuple else mark
        return values, trees, size

    def _read_odd_key(self, event: Any, key: Any, mark: Mark, made_up: str) -> str | None:
        """The key of what may be none; None for a merge key, whose value is dropped."""
        is_scalar = type(event) is events.ScalarEvent
        if is_scalar and event.value == "<<" and not event.style:
            self._report(
                "Merge keys are not supported",
                "`<<` merges another mapping into this one, which YAML 1.2 no longer supports",
                "write the keys here, or change them for a target with an overlay",
                mark,
            )
            return None
        if type(key) is str:  # quoted, or an alias
            return key
        if is_scalar:
            text: str = event.value
            self._report(
                "Key is not a string",
                f"the key {text or 'null'} is read as {describe_value_kind(key)}",
                f'quote it: "{text}"',
                mark,
            )
            return text
        self._report(
            "Key is not a string",
            "found a mapping, a list or an alias, but expected a key",
            "write a string as the key, and quote it if it begins with { or [",
            mark,
        )
        return made_up

    def _resolve_alias(self, name: str, mark: Mark) -> _Node:
        node = self._anchors.get(name)
        if node is None:
            # An anchor gets its value when its collection ends, so inside of it the name is
            # unknown.
            is_open = name in self._open_anchors
            self._report(
                "Alias inside its own anchor" if is_open else "Unknown alias",
                f"*{name} is inside the value that it refers to"
                if is_open
                else f"no anchor &{name} precedes *{name} in this document",
                f'quote it if it is a string: "*{name}"',
                mark,
            )
            # Read as a text, so that the rest of the document is still checked.
            node = f"*{name}", mark, 1
        # Counted by expanded size: a value that an alias names may hold aliases of its own.
        value, tree, size = node
        self._aliased_count += size
        if self._aliased_count > MAX_ALIASED_NODES:
            self._report(
                "Aliases expand to too much",
                f"with *{name}, this file has more than {MAX_ALIASED_NODES} values",
                "write the values instead of using aliases of aliases",
                mark,
            )
            raise _UnreadableDocument(mark)
        return value, tree if type(tree) is tuple else mark, size
