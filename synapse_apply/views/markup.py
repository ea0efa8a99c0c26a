"""Text from manifests and servers put into Markdown: none of it is markup, a mention or a link.

GitHub and GitLab look for references in what Markdown has made of a text, so an entity hides
nothing from them. A `<span>` around one character does: what they look for is then not one text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from urllib.parse import quote as percent

from synapse_apply.views.safety import clean, clean_lines

# What is longer is told in part: a text, a line of a block, a name in a heading.
LONGEST = 400
LONGEST_LINE = 1000
LONGEST_NAME = 100
_CODE = re.compile(r"`([^`]+)`")
_TICKS = re.compile("`+")
# References (@user, #1, !1, $1, %1, &1, ~label, GH-1), links (http://x, www.x), :emoji:, what
# begins a list, a heading or a command where it stands first, and GitLab's {+ marks +}.
_SPLIT = re.compile(
    r"[@#!%&~](?=\S)|[$]|:(?=[/\w+-])|(?<=[A-Za-z])-(?=\d)|(?i:(?<=www)\.)|^[-+=/#]|[{](?=[+-])"
)
# An underscore inside a word means nothing.
_BACKSLASHED = re.compile(r"[\\*\[\]|^]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_NUMBERED = re.compile(r"^(\d+)(?=[.)])")


def prose(text: object, most: int = LONGEST) -> str:
    """A text as part of a sentence: words in backticks become code, nothing else is markup.

    It may stand where a line of Markdown begins, and has no line break.
    """
    parts = _CODE.split(" ".join(clean_lines(shortened(str(text).strip(), most))).strip())
    return "".join(code(part) if at % 2 else _plain(part) for at, part in enumerate(parts))


def _plain(text: str) -> str:
    number = _NUMBERED.match(text)  # of a list, if it stood where a line begins
    start = f"{number.group()}\\" if number else ""
    return start + "".join(map(_shown, _pieces(text[number.end() :] if number else text)))


def _pieces(text: str) -> Iterable[tuple[str, bool]]:
    """The text in pieces, those that are to be split off marked."""
    at = 0
    for match in _SPLIT.finditer(text):
        yield text[at : match.start()], False
        yield match.group(), True
        at = match.end()
    yield text[at:], False


def _shown(piece: tuple[str, bool]) -> str:
    text, apart = piece
    shown = escape(_BACKSLASHED.sub(r"\\\g<0>", text), quote=False).replace("`", "&#96;")
    return f"<span>{shown}</span>" if apart else shown


def code(text: object, most: int = LONGEST) -> str:
    """A text as a code span, in which nothing is markup; "" for an empty one."""
    line = clean(shortened(str(text), most))
    ticks = "`" * (_longest_run([line]) + 1)
    pad = " " if line.startswith(("`", " ")) or line.endswith(("`", " ")) else ""
    return f"{ticks}{pad}{line}{pad}{ticks}" if line else ""


def html_code(text: object, most: int = LONGEST) -> str:
    """A text as code inside a line of HTML, such as a `<summary>`."""
    return f"<code>{escape(clean(shortened(str(text), most)))}</code>"


def fence(lines: Sequence[str], info: str) -> str:
    """Clean lines as a block of code; its fence is longer than any run of backticks in them."""
    kept = [shortened(line, LONGEST_LINE) for line in lines]
    ticks = "`" * max(3, _longest_run(kept) + 1)
    return "\n".join([f"{ticks}{info}", *kept, ticks])


def fold(summary: str, body: str) -> str:
    """A collapsible block; `summary` is a line of HTML, `body` is Markdown."""
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def marker(text: str) -> str:
    """A hidden line by which a bot finds its comment again; `text` cannot end it."""
    return f"<!-- synapse-apply: {text} -->"


def in_marker(name: str) -> str:
    """A name as a marker holds it: as it is where it is plain, else percent-encoded."""
    return percent(clean(name[:LONGEST_NAME]), safe="").replace("--", "%2D%2D")


def link(words: str, url: str) -> str:
    """A link to a place of ours; the words alone where the url is none."""
    if not re.fullmatch(r"https?://[\w.~:/?#@!$&+,;=%-]+", url):
        return words
    return f"[{words}](<{url}>)"


def shortened(text: str, most: int) -> str:
    """A text, with what is left out at its end told."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text) - most} more characters)"


def _longest_run(lines: Iterable[str]) -> int:
    return max((len(run) for line in lines for run in _TICKS.findall(line)), default=0)
