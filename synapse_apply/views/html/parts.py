"""How texts, values, field changes and links become HTML, with everything in them escaped."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import quote

from synapse_apply.model.diagnostic import Position
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Cause, FieldChange
from synapse_apply.model.values import ABSENT, KnownAfterApply
from synapse_apply.views.sanitize import cut_text, sanitize, sanitize_lines, split_code
from synapse_apply.views.text import values
from synapse_apply.views.text.findings import format_position, format_quoted_path
from synapse_apply.views.text.terminal import DiffStyle, margin_lines

# Longer contents are cut, and what is left out is counted; the JSON document has all.
MAX_BLOCK_LINES = 200
MAX_TABLE_SIZE = 65_536
MAX_PROSE_LENGTH = 2000
_VALUE_WIDTH = 60
_MAX_UNBROKEN_PATH = 22
# One pass, so that nothing is escaped twice; `#` because CI runners obey `##[error]` in a log.
_HTML_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;", "#": "&#35;"}
)
_TRAILING_COMMAND = re.compile(
    r"(?P<head>(?:[^\n]{0,2000}: )?)(?P<line>synapse-apply(?: [A-Za-z0-9@./=:+_-]{1,300}){1,20})"
)
# With one of these words, the command does not end the sentence, so it cannot be copied as a whole.
_CONTINUATION_WORDS = re.compile(r" (?:and|or|where|with|once|to|then|for|it|the|does|shows)\b")
_COMMAND_PREFIXES = ("synapse-apply ", "git ", "--override-guard ", "lifecycle.ignore_changes: ")
_NO_STYLES: Mapping[str, str] = {}
_MARGIN_STYLES = {"+": "come", "-": "gone", "!": "moved"}
_TABLE_STYLES = {
    ("Before", "After"): "",
    ("Now", "Wanted"): ' class="now"',
    ("Live, kept", "Declared"): ' class="kept"',
    ("Recorded", "Live"): ' class="seen"',
}
_SYMBOL_STYLES = {"+": "come", "-": "gone", "~": "moved"}
CAUSE_LABELS = {
    Cause.GIT: "Git",
    Cause.DRIFT: "changed outside",
    Cause.BOTH: "Git and outside",
    Cause.SECRET: "secret",
}


def cut_and_escape(value: object, max_length: int = values.MAX_VALUE_LENGTH) -> str:
    """A text, sanitized, shortened and escaped, for an element's content or a quoted attribute."""
    return sanitize(cut_text(str(value), max_length)).translate(_HTML_ESCAPES)


def render_copyable_command(line: str) -> str:
    """A shell command; the page's script adds a button that copies it."""
    return f'<code class="command">{cut_and_escape(line, MAX_PROSE_LENGTH)}</code>'


def render_code(value: object, max_length: int = values.MAX_VALUE_LENGTH) -> str:
    """A text in a `<code>` element."""
    return f"<code>{cut_and_escape(value, max_length)}</code>"


def render_prose(value: object, max_length: int = MAX_PROSE_LENGTH) -> str:
    """Sentences as HTML; what `split_code` finds becomes code, line breaks stay."""
    htmls: list[str] = []
    for line in sanitize_lines(cut_text(str(value).strip(), max_length)):
        for index, text in enumerate(split_code(line)):
            if index % 2 == 0:
                htmls.append(cut_and_escape(text, MAX_PROSE_LENGTH))
            elif text.startswith(_COMMAND_PREFIXES):
                htmls.append(render_copyable_command(text))
            else:
                htmls.append(render_code(text, MAX_PROSE_LENGTH))
        htmls.append("<br>")
    return "".join(htmls[:-1])


def render_sentence(sentence: str) -> str:
    """A sentence as HTML; a `synapse-apply` command at its end becomes one that can be copied."""
    match = _TRAILING_COMMAND.fullmatch(sentence)
    # Copying a command with words of the sentence behind it would fail in the shell.
    if match is None or _CONTINUATION_WORDS.search(match["line"]):
        return render_prose(sentence)
    return f"{render_prose(match['head'])} {render_copyable_command(match['line'])}".strip()


def render_paragraph(html: str, style: str = "") -> str:
    """A `<p>` around HTML; "" for an empty one."""
    class_attribute = f' class="{style}"' if style else ""
    return f"<p{class_attribute}>{html}</p>" if html else ""


def render_facts(*htmls: str) -> str:
    """A paragraph of a fact for each HTML that is not empty."""
    return "".join(render_paragraph(html, "fact") for html in htmls)


def render_list(htmls: Iterable[str], style: str = "") -> str:
    """A `<ul>` of HTML; "" for none."""
    items = "".join(f"<li>{html}</li>" for html in htmls)
    class_attribute = f' class="{style}"' if style else ""
    return f"<ul{class_attribute}>{items}</ul>" if items else ""


def render_code_block(lines: Iterable[str], styles: Mapping[str, str] = _NO_STYLES) -> str:
    """Sanitized lines in a `<pre>`, at most MAX_BLOCK_LINES; `styles` are by first character.

    Each is an element in one line of HTML, so that none begins a line of the file: a CI runner
    might take it for a command.
    """
    all_lines = list(lines)
    hidden_count = len(all_lines) - MAX_BLOCK_LINES
    html = ""
    for line in all_lines[:MAX_BLOCK_LINES]:
        style = f' class="{styles[line[0]]}"' if line[:1] in styles else ""
        html += f"<span{style}>{cut_and_escape(line, 1000) or ' '}</span>"
    if hidden_count > 0:
        html += f"<span># ({hidden_count} more lines not shown here)</span>"
    return f"<pre>{html}</pre>"


def render_fields_table(
    changes: Iterable[FieldChange],
    *,
    side_titles: tuple[str, str] = ("Before", "After"),
    hidden_symbol: str = "~",
) -> str:
    """A table with a row for each field change: before, after and why; "" for no changes.

    `side_titles` are the headings of the two sides, `hidden_symbol` marks secret changes.
    """
    parts = [part for change in changes for part in values.differing_leaves(change)]
    if not parts:
        return ""
    # A secret shows no value on either side (0 before, 1 after), so it needs no column.
    visible_parts = [part for part in parts if not values.is_secret_change(part)]
    sides: tuple[int, ...] = (0, 1)
    if all(part.before is ABSENT for part in visible_parts):
        sides = (1,)
    elif all(part.after is ABSENT for part in visible_parts):
        sides = (0,)
    has_reasons = any(_reason_cell(part) for part in parts)
    titles = ["Field", *(side_titles[side] if len(sides) == 2 else "Value" for side in sides)]
    titles += ["Why"] if has_reasons else []
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    rows = ""
    for index, part in enumerate(parts):
        style = _SYMBOL_STYLES.get(values.change_symbol(part, hidden_symbol), "kept")
        path = cut_and_escape(format_quoted_path(part.path))
        # A long path may break behind each of its parts.
        path_html = path.replace(".", ".<wbr>") if len(path) > _MAX_UNBROKEN_PATH else path
        reason = f"<td>{_reason_cell(part)}</td>" if has_reasons else ""
        cells = _render_value_cells(part, sides, is_created=hidden_symbol == "+")
        row = f'<tr class="{style}"><th scope="row">{path_html}</th>{cells}{reason}</tr>'
        # The first row is always shown.
        if index and len(rows) + len(row) > MAX_TABLE_SIZE:
            hidden_count = len(parts) - index
            rows += (
                f'<tr><td colspan="{len(titles)}">({hidden_count} more not shown here)</td></tr>'
            )
            break
        rows += row
    # On a narrow screen the sides are below each other, each labelled by the style of its table.
    style = _TABLE_STYLES[side_titles] if len(sides) == 2 else ' class="one"'
    return f"<table{style}><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _render_value_cells(part: FieldChange, sides: tuple[int, ...], *, is_created: bool) -> str:
    span = f' colspan="{len(sides)}"' if len(sides) > 1 else ""
    if values.is_secret_change(part):
        secret = cut_and_escape(values.secret_text(part, is_created=is_created))
        return f'<td{span} class="secret">{secret}</td>'
    has_both = part.before is not ABSENT and part.after is not ABSENT
    if has_both and len(sides) > 1:
        diff = values.format_line_diff(part.before, part.after, _VALUE_WIDTH, DiffStyle())
        lines = list(margin_lines("\n".join(diff)))
        texts = (side for side in (part.before, part.after) if isinstance(side, str))
        is_long = any(len(text) > values.MAX_VALUE_LENGTH for text in texts)
        # A diff inside the value says more than two long cells.
        if is_long or any(line[:1] in _MARGIN_STYLES for line in lines):
            return f"<td{span}>{render_code_block(lines, _MARGIN_STYLES)}</td>"
    htmls = ""
    for side in sides:
        value = part.after if side else part.before
        # As a plan shows it. The cell's style makes it look like code, which keeps pages small.
        html = '<span class="none">not set</span>'
        if value is not ABSENT:
            lines = values.format_value_lines(value, _VALUE_WIDTH)
            html = cut_and_escape(lines[0], 1000) if len(lines) == 1 else render_code_block(lines)
        htmls += f'<td class="{"after" if side else "before"}">{html}</td>'
    return htmls


def _reason_cell(part: FieldChange) -> str:
    facts = [CAUSE_LABELS[part.cause]] if part.cause in CAUSE_LABELS else []
    if part.origin:
        facts = [cut_and_escape(part.origin)]
    if isinstance(part.after, KnownAfterApply):
        facts.append(f"from {render_code(part.after.address)}")
    elif part.note and not values.is_secret_change(part):
        facts.append(cut_and_escape(part.note))
    return ", ".join(facts)


# A URL with host and path only: no user, no query, no script.
_SAFE_URL = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]+)?(?:/[A-Za-z0-9._~%+/-]*)?")
_COMMIT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def render_anchor(url: str, html: str) -> str:
    """A link around `html`; `html` alone where the URL is not a safe http one."""
    if not _SAFE_URL.fullmatch(url):
        return html
    return f'<a href="{cut_and_escape(url)}" rel="noopener noreferrer">{html}</a>'


# A page leads where the pipeline runs, and nowhere else: the forge's address is of the run's
# environment, file names are quoted, and all else is text.
@frozen
class ForgeLinks:
    """What is known of the forge (GitHub, GitLab) that the page is made on.

    `repository` is the repository's URL, `separator` the path before `blob` and `commit`;
    `path_in_repository` gives a file's path inside the repository, None for one outside.
    """

    repository: str = ""
    separator: str = ""
    path_in_repository: Callable[[str], str | None] = lambda _file: None
    commit: str = ""

    def render_position(self, position: Position) -> str:
        """`file:line:column` as code, linked to that line of the commit where possible."""
        return self.link_to_line(position, render_code(format_position(position)))

    def link_to_line(self, position: Position | None, html: str) -> str:
        """`html` linked to a line of the commit; unchanged where there is no safe link."""
        path = self.path_in_repository(position.file) if position is not None else None
        if position is None or path is None or not (url := self._url_of(self.commit)):
            return html
        file_url = f"{url}/blob/{self.commit}/{quote(path)}"
        # A file's name may contain anything, even after quoting.
        if not _SAFE_URL.fullmatch(file_url):
            return html
        # The fragment is added after the check, since the pattern allows none.
        line_url = f"{file_url}#L{position.line}"
        return f'<a href="{cut_and_escape(line_url)}" rel="noopener noreferrer">{html}</a>'

    def render_short_commit(self, commit: str) -> str:
        """The first 12 digits of a commit, linked where possible; "" for no commit."""
        html, url = render_code(commit[:12]) if commit else "", self._url_of(commit)
        return render_anchor(f"{url}/commit/{commit}", html) if url else html

    def _url_of(self, commit: str) -> str:
        """The URL of the repository; "" where it is unknown, or cannot have such a commit."""
        # The commit may come from a saved plan, which could hold another text.
        is_linkable = self.repository and _COMMIT_ID.fullmatch(commit)
        return f"{self.repository.rstrip('/')}{self.separator}" if is_linkable else ""


NO_LINKS = ForgeLinks()
