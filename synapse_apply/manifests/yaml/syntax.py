"""How a syntax error of the YAML parser is explained, and at which position."""

from __future__ import annotations

import re

import yaml

from synapse_apply.model.diagnostic import Diagnostic, Position, error_finding

_QUOTE_HINT = 'quote the text: "..."'
_SURROGATE_PAIR = r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
# (what libyaml or PyYAML says, our detail, our hint), first match wins.
_KNOWN_MESSAGES = (
    (
        r"character '\\t'|character that cannot start any token.*\t",
        "a tab stands where only spaces may",
        "indent with spaces; YAML forbids tabs there",
    ),
    (
        r"mapping values are not allowed",
        "`: ` stands where no key can: a second one, or the line before has none",
        "indent as the line before, or quote the text that holds `: `",
    ),
    (
        r"could not find expected ':'",
        "this line has no `KEY: VALUE`",
        "add the `:`, or indent the line when it belongs to a text above",
    ),
    (
        r"unexpected end of stream|while scanning a quoted scalar",
        "a quoted text is not closed",
        "close the quotes",
    ),
    (
        r"document indicator",
        "a quoted text is not closed before the next document",
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
    (r"cannot start any token", "a character stands here that begins no YAML value", _QUOTE_HINT),
    (
        r"unknown escape|escape",
        "an unknown escape in a double-quoted text",
        "use single quotes, or write \\\\ for a backslash",
    ),
    (
        r"nesting|depth|maximum",
        "mappings and lists stand too deep inside each other",
        "flatten the document",
    ),
    (r"undefined tag|tag", "the tag cannot be read", "remove the tag"),
    (r"alias|anchor", "an anchor or alias has no name", "quote the text that begins with & or *"),
)


def build_syntax_finding(
    problem: yaml.MarkedYAMLError, file: str, text: str, first_line: int
) -> tuple[Diagnostic, int]:
    """The finding for a syntax error, and its line (from 0) in the whole text.

    `first_line` is the line at which the parsed part of the text begins.
    """
    mark = problem.problem_mark or problem.context_mark
    line = (mark.line if mark else 0) + first_line
    column = mark.column if mark else 0
    parser_message = " ".join(part for part in (problem.context, problem.problem) if part)
    lines = text.split("\n", line + 1)
    line_text = lines[line] if line < len(lines) else ""
    if "Unicode character escape" in parser_message:
        detail, hint = _explain_bad_escape(line_text[max(column - 2, 0) :])
    else:
        detail, hint = _explain_parser_message(
            parser_message, line_text[column : column + 1] == "\t"
        )
    return (
        error_finding(
            "YAML syntax",
            detail
            + _describe_construct(problem, first_line)
            + (f" ({parser_message})" if parser_message else ""),
            hint,
            position=Position(file, line + 1, column + 1),
        ),
        line,
    )


def _describe_construct(problem: yaml.MarkedYAMLError, first_line: int) -> str:
    """A phrase naming the line where the unfinished construct began; "" on the same line."""
    start_mark, end_mark = problem.context_mark, problem.problem_mark
    if start_mark is None or end_mark is None or start_mark.line == end_mark.line:
        return ""
    return f", begun at line {start_mark.line + first_line + 1}"


def _explain_bad_escape(escape: str) -> tuple[str, str]:
    """Detail and hint for an escape that is no character, such as half of a surrogate pair.

    JSON writes a character above U+FFFF as two escapes (RFC 8259, 7), which YAML does not allow.
    """
    pair = re.match(_SURROGATE_PAIR, escape)
    if pair is not None:
        high, low = (int(half, 16) for half in pair.groups())
        name = f"\\U{0x10000 + (high - 0xD800) * 0x400 + low - 0xDC00:08X}"
        return (
            f"{pair[0]} is a pair of surrogates: JSON writes one character so, YAML cannot",
            f"write the character itself, or {name} (in Python json.dump(..., ensure_ascii=False))",
        )
    return (
        f"{escape[:2]} stands before a number that is no character's",
        "write the character itself; single quotes keep what looks like an escape as it is",
    )


def _explain_parser_message(parser_message: str, is_tab: bool) -> tuple[str, str]:
    if is_tab:
        return _KNOWN_MESSAGES[0][1], _KNOWN_MESSAGES[0][2]
    for pattern, detail, hint in _KNOWN_MESSAGES:
        if re.search(pattern, parser_message):
            return detail, hint
    return "this is not YAML", "compare with the examples; quoting the text often helps"
