"""Which characters and lines of foreign text are escaped before it is printed, and how."""

from __future__ import annotations

import re

from synapse_apply.model.lazy_patterns import lazy_pattern

# Control characters, bidi marks, invisible and private formatting, lone surrogates: what moves a
# cursor, reorders a line or hides in it.
_ALWAYS_UNSAFE = (
    "\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\u2800\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# The joiners of emoji and Indic scripts, and the selectors of their forms, are unsafe only where
# they stand beside ASCII, which they do not change. One set of characters comes first, as `re`
# passes over what is not in it some five times as fast as over what begins no alternative.
_UNSAFE_CHARS = lazy_pattern(
    f"([\u180b-\u180d\u180f\u200c\u200d\ufe00-\ufe0f{_ALWAYS_UNSAFE}]"
    f"(?:(?<=[{_ALWAYS_UNSAFE}])"
    "|(?<=[\x00-\x22\x24-\x29\x2b-\x2f\x3a-\x7f].)"
    "|(?<=[\u200c\u200d])(?=[\x00-\x7f])))"
)
# CI runners obey `::command::` at the start of a line, after any blanks of Unicode (GitHub), and
# `##[command]` anywhere in one.
_CODE = lazy_pattern(
    r"`([^`]+)`|(?<![\w-])(--override-guard [\w:-]+|--[a-z][a-z-]+)"
    r"|(lifecycle\.ignore_changes: \[[^\]`]*\])"
)
_LINE_COMMAND = lazy_pattern(r"^([^\S\n]*)::", re.MULTILINE)
_HASH_COMMAND = lazy_pattern(r"##(?=\[|vso\[|teamcity\[)")
# Tools that parse Terraform's text take such a line for a planned action.
_PLAN_ROW = lazy_pattern(r"^(\s*)#(?= .* (?:will be [a-z -]+|must be replaced)$)")
_USER_INFO = lazy_pattern(r"(?<=//)[^/@\s]*@")


class _Escapes(dict[str, str]):
    """The escape of each unsafe character, made when it is met first."""

    def __missing__(self, char: str) -> str:
        code = ord(char)
        escape = self[char] = f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
        return escape


class _JsonEscapes(dict[str, str]):
    """The same in JSON, whose escapes are UTF-16 code units."""

    def __missing__(self, char: str) -> str:
        # surrogatepass keeps lone surrogates as they are.
        units = char.encode("utf-16-be", "surrogatepass").hex()
        escape = self[char] = "".join(
            f"\\u{units[index : index + 4]}" for index in range(0, len(units), 4)
        )
        return escape


_ESCAPES = _Escapes({"\n": "\\n", "\t": "\\t", "\r": "\\r"})
_JSON_ESCAPES = _JsonEscapes()


def _escape_unsafe_chars(text: str, escapes: dict[str, str]) -> str:
    # Every other part is such a character. `sub` with a function takes twice as long, and hostile
    # text may be made of them alone.
    parts = _UNSAFE_CHARS.split(text)
    parts[1::2] = [escapes[char] for char in parts[1::2]]
    return "".join(parts)


def sanitize(text: object) -> str:
    """A text on one line, with control and invisible characters escaped."""
    raw_text = str(text)
    # Most text is plain ASCII, and these two checks are far cheaper than the search.
    is_plain = raw_text.isascii() and raw_text.isprintable()
    return raw_text if is_plain else _escape_unsafe_chars(raw_text, _ESCAPES)


def sanitize_lines(text: object) -> list[str]:
    """The sanitized lines of a text; a tab becomes two spaces, so that alignment holds."""
    raw_text = str(text).replace("\r\n", "\n").replace("\t", "  ")
    lines = raw_text.split("\n")
    return lines if _are_all_plain(lines) else [sanitize(line) for line in lines]


def _are_all_plain(lines: list[str]) -> bool:
    """Whether no line has anything to escape; far cheaper than a look at each of many lines."""
    joined_lines = "".join(lines)
    return joined_lines.isascii() and joined_lines.isprintable()


def sanitize_plan_lines(text: object) -> list[str]:
    """As `sanitize_lines`, with lines that look like a planned action escaped."""
    return [_PLAN_ROW.sub(r"\1\\#", line) for line in sanitize_lines(text)]


def quote_string(text: str) -> str:
    """A sanitized string between double quotes, on one line."""
    return '"' + sanitize(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def split_code(line: str) -> list[str]:
    """A line in parts; the odd ones are code: what stands in backticks, options and settings."""
    return [part for part in _CODE.split(line) if part is not None]


def escape_ci_commands(output: str) -> str:
    """An output in which no line is a command to a CI runner; to be called on the complete text."""
    # Most outputs hold neither, which is told faster than by the expressions.
    if "::" in output:
        output = _LINE_COMMAND.sub(r"\1\\::", output)
    return _HASH_COMMAND.sub(r"#\\#", output) if "##" in output else output


def escape_unsafe_json(text: str) -> str:
    """A JSON text with unsafe characters as JSON escapes, which mean the same to a reader."""
    lines = text.split("\n")
    if not _are_all_plain(lines):
        text = "\n".join(_escape_unsafe_chars(line, _JSON_ESCAPES) for line in lines)
    return _HASH_COMMAND.sub(r"\\u0023#", text)


def sanitize_url(url: str) -> str:
    """A sanitized URL without user and password."""
    return _USER_INFO.sub("", sanitize(url))


def limit_text(text: str, max_length: int) -> str:
    """A text of at most this many characters, the last one `…` if it was cut."""
    return text if len(text) <= max_length else text[: max_length - 1] + "…"


def cut_text(text: str, max_length: int) -> str:
    """The first `max_length` characters of a text, then how many more there were."""
    return (
        text
        if len(text) <= max_length
        else f"{text[:max_length]}... ({len(text) - max_length} more characters)"
    )
