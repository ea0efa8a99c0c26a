"""How text is escaped in Markdown, so that none of it is markup, a mention or a link.

GitHub and GitLab look for references in the rendered text, so an HTML entity hides
nothing from them. A `<span>` around one character does, since it splits the text node.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from urllib.parse import quote as percent

from synapse_apply.views.sanitize import cut_text, sanitize, sanitize_lines, split_code

# Longer texts, lines of a block and names in a heading are cut, with a note.
MAX_MARKDOWN_TEXT = 400
MAX_CODE_LINE = 1000
MAX_NAME_LENGTH = 100
_BACKTICKS = re.compile("`+")
# References (@user, #1, !1, $1, %1, &1, ~label, GH-1), links (http://x, www.x), :emoji:, what
# begins a list, a heading or a command where it stands first, and GitLab's {+ marks +}.
_REFERENCE_CHARS = re.compile(
    r"[@#!%&~](?=\S)|[$]|:(?=[/\w+-])|(?<=[A-Za-z])-(?=\d)|(?i:(?<=www)\.)|^[-+=/#]|[{](?=[+-])"
)
# An underscore inside a word means nothing.
_MARKUP_CHARS = re.compile(r"[\\*\[\]|^]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LIST_NUMBER = re.compile(r"^(\d+)(?=[.)])")


def prose(text: object, max_length: int = MAX_MARKDOWN_TEXT) -> str:
    """A text escaped for a sentence; only what `split_code` finds becomes code.

    The result has no line break, and is safe at the start of a line.
    """
    line = " ".join(sanitize_lines(cut_text(str(text).strip(), max_length))).strip()
    parts = split_code(line)
    parts[::2] = map(_escape_plain_text, parts[::2])
    parts[1::2] = map(code_span, parts[1::2])
    return "".join(parts)


# Split by `<span>`: forges look for mentions in what Markdown has made of a text, so an entity
# hides nothing; an element in between does, and the text can still be copied.
def _escape_plain_text(text: str) -> str:
    number = _LIST_NUMBER.match(text)  # of a list, if it stood where a line begins
    result, position = "", 0
    if number:
        result, text = f"{number.group()}\\", text[number.end() :]
    for match in _REFERENCE_CHARS.finditer(text):
        reference = _escape_markup(match.group())
        result += f"{_escape_markup(text[position : match.start()])}<span>{reference}</span>"
        position = match.end()
    return result + _escape_markup(text[position:])


def _escape_markup(text: str) -> str:
    return escape(_MARKUP_CHARS.sub(r"\\\g<0>", text), quote=False).replace("`", "&#96;")


def code_span(text: object, max_length: int = MAX_MARKDOWN_TEXT) -> str:
    """A text as a code span, with more backticks around it than in it; "" for an empty text."""
    line = sanitize(cut_text(str(text), max_length))
    # CommonMark 6.1: a code span ends at a run of backticks of the same length.
    ticks = "`" * (_longest_backticks([line]) + 1)
    # CommonMark strips one space on each side, and a backtick at the edge would join the fence.
    padding = " " if line.startswith(("`", " ")) or line.endswith(("`", " ")) else ""
    return f"{ticks}{padding}{line}{padding}{ticks}" if line else ""


def html_code(text: object) -> str:
    """A text in a `<code>` element, for a line of HTML such as a `<summary>`."""
    return f"<code>{escape(sanitize(cut_text(str(text), MAX_MARKDOWN_TEXT)))}</code>"


def fenced_block(lines: Sequence[str], info: str) -> str:
    """Sanitized lines as a fenced code block; the fence is longer than their runs of backticks."""
    shown_lines = [cut_text(line, MAX_CODE_LINE) for line in lines]
    ticks = "`" * max(3, _longest_backticks(shown_lines) + 1)
    return "\n".join([f"{ticks}{info}", *shown_lines, ticks])


def collapsible(summary: str, body: str) -> str:
    """A `<details>` block; `summary` is a line of HTML, `body` is Markdown."""
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def hidden_marker(text: str) -> str:
    """An HTML comment by which a CI job finds its own comment again; `text` must not hold `--`."""
    return f"<!-- synapse-apply: {text} -->"


def encode_marker_name(name: str) -> str:
    """A name percent-encoded for a marker, so that it cannot end the HTML comment."""
    return percent(sanitize(name[:MAX_NAME_LENGTH]), safe="").replace("--", "%2D%2D")


def link(label: str, url: str) -> str:
    """A Markdown link; the label alone where the URL is not a safe http one."""
    # Other schemes could run code, and `<`, `>` or a blank would end the link.
    if not re.fullmatch(r"https?://[\w.~:/?#@!$&+,;=%-]+", url):
        return label
    return f"[{label}](<{url}>)"


def _longest_backticks(lines: Iterable[str]) -> int:
    return max((len(run) for line in lines for run in _BACKTICKS.findall(line)), default=0)
