"""How the HTML page is built around its rows: header, counts, filters, sections, graph, script."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from importlib.resources import files
from string import Template

from synapse_apply.model.address import Address
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Cause, FieldChange
from synapse_apply.views.graph import GraphNode
from synapse_apply.views.html.graph_drawing import draw_planned
from synapse_apply.views.html.parts import CAUSE_LABELS, cut_and_escape, render_code
from synapse_apply.views.sanitize import escape_ci_commands

_MAX_OPEN_ROWS = 8  # with at most so many rows, all are expanded
_ROWS_PER_STACK = 50  # browsers skip the layout of stacks outside the window (content-visibility)
_NOTHING_MATCHES = (
    '<p id="nothing" hidden>Nothing matches. <button type="button">Clear the filters</button></p>'
)
_NEXT_STEPS = (
    '<section id="next" aria-labelledby="next-title"><h2 id="next-title">What to do next</h2>'
    "<ol>{}</ol></section>"
)
_GRAPH_SECTION = (
    '<section id="graph" aria-labelledby="graph-title"><h2 '
    'id="graph-title">Dependencies</h2><p class="intro">Each arrow points to a '
    "dependency.</p>{}</section>"
)
_SIGN_STYLES = {"+": "come", "-": "gone", "~": "moved", "!": "trouble"}


@frozen
class HtmlRow:
    """A row of a page; `status_html` and `body` are HTML, all else is raw text.

    `fields` are what filters match causes of; `needs_decision` marks rows that someone has to act
    on, which are expanded.
    """

    address: Address
    action: str
    sign: str
    status_html: str
    body: str = ""
    fields: Iterable[FieldChange] = ()
    needs_decision: bool = False
    tags: tuple[str, ...] = ()

    @property
    def causes(self) -> tuple[Cause, ...]:
        """Why its fields differ, in one order; none of what nobody is known to have set."""
        causes = {field.cause for field in self.fields if not field.origin} - {Cause.NONE}
        return tuple(cause for cause in Cause if cause in causes)


@frozen
class PageSection:
    """A titled part of a page; `intro` is HTML, `list_html` a list that filters do not hide."""

    name: str
    title: str
    rows: Sequence[HtmlRow] = ()
    list_html: str = ""
    count: int = 0
    intro: str = ""

    @property
    def row_or_item_count(self) -> int:
        """The number of its rows, or of its list's items."""
        return len(self.rows) or self.count


# Written by Python; the script only filters, so that the page reads without one. All escaping is in
# views/html/parts.py; the page's policy allows its own style and script alone, by hash.
@frozen
class HtmlPage:
    """The contents of one page. `title` is raw text; `headlines`, `facts` and `footer` are HTML.

    `next_steps` are lines of HTML. `tone` is good, bad or plain; `counts` are (word, number, colour
    class).
    """

    title: str
    tone: str
    headlines: Sequence[str]
    facts: str
    sections: Sequence[PageSection]
    counts: Sequence[tuple[str, int, str]] = ()
    graph_nodes: Sequence[GraphNode] = ()
    footer: str = ""
    trouble_label: str = "Only refused rows"
    target: str = ""
    next_steps: Sequence[str] = ()

    def render_html(self) -> str:
        """The whole document; equal input gives equal text."""
        style, script = read_asset("page.css"), read_asset("page.js")
        text = Template(read_asset("page.html")).substitute(
            # By its policy nothing is fetched, and only our style and script run.
            style_hash=hash_for_content_policy(style),
            script_hash=hash_for_content_policy(script),
            title=cut_and_escape(self.title),
            style=style,
            tone=self.tone,
            heading=cut_and_escape(self.title, 200),
            headlines=_headlines(self),
            facts=self.facts,
            filters="".join(f"\n{part}" for part in self._top()),
            rows="\n".join(self._rows_and_graph()),
            footer=self.footer,
            script=script,
        )
        # Last, over the whole text: a page may be printed into the log of a CI job.
        return escape_ci_commands(text)

    def render_fragment(self) -> str:
        """The contents as HTML for another page, which has page.css and page.js: no title."""
        parts = [_headlines(self), *self._top(), *self._rows_and_graph()]
        return "\n".join(part for part in parts if part)

    @property
    def row_id_by_address(self) -> Mapping[str, str]:
        """The HTML ids of the rows, by address."""
        ids: dict[str, str] = {}
        for index, row in enumerate(self._shown_rows):
            # Only the first row of an address is linked to; one may have several, such as notes.
            ids.setdefault(str(row.address), f"r{index}")
        return ids

    @property
    def _shown_sections(self) -> Sequence[PageSection]:
        return [section for section in self.sections if section.row_or_item_count or section.intro]

    @property
    def _shown_rows(self) -> Sequence[HtmlRow]:
        return [row for section in self._shown_sections for row in section.rows]

    def _top(self) -> list[str]:
        """Next steps, links to the sections and filters, as far as there are any."""
        parts = []
        if steps := "".join(f"<li>{step}</li>" for step in self.next_steps):
            parts.append(_NEXT_STEPS.format(steps))
        if links := "".join(
            f'<li><a href="#{s.name}">{s.title}</a> <span>{s.row_or_item_count:,}</span></li>'
            for s in self._shown_sections
            if s.row_or_item_count
        ):
            parts.append(f'<nav aria-label="Sections"><ul>{links}</ul></nav>')
        if self._shown_rows:
            parts.append(_filters(self._shown_rows, self.trouble_label))
        return parts

    def _rows_and_graph(self) -> Iterator[str]:
        open_all = len(self._shown_rows) <= _MAX_OPEN_ROWS
        yield from _render_sections(self._shown_sections, open_all=open_all)
        if svg := draw_planned(self.graph_nodes, self.row_id_by_address, self.target):
            yield _GRAPH_SECTION.format(svg)
        yield _NOTHING_MATCHES


def read_asset(name: str) -> str:
    """The text of page.html, page.css or page.js."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def hash_for_content_policy(content: str) -> str:
    """The source expression by which a Content-Security-Policy allows a style or script."""
    return f"sha256-{b64encode(sha256(content.encode()).digest()).decode()}"


def _headlines(page: HtmlPage) -> str:
    headlines = "".join(f'<p class="said">{line}</p>' for line in page.headlines)
    tiles = "".join(
        f'<li class="{tone}"><b>{count:,}</b> {word}</li>'
        for word, count, tone in page.counts
        if count
    )
    counts = f'<ul class="counts" aria-label="Counts">{tiles}</ul>' if tiles else ""
    return f"{headlines}{counts}"


def _filters(rows: Sequence[HtmlRow], trouble_label: str) -> str:
    """The filter form; hidden until the script shows it, since it does nothing without one."""
    causes = {cause for row in rows for cause in row.causes}
    selects = [
        _select("action", "Action", {row.action: row.action for row in rows}),
        _select("kind", "Kind", {row.address.kind: row.address.kind for row in rows}),
        _select("cause", "Cause", {c.value: CAUSE_LABELS[c] for c in Cause if c in causes}),
    ]
    box = f'<label><input type="checkbox" name="trouble"> {trouble_label}</label>'
    boxes = box if any(row.needs_decision for row in rows) else ""
    return (
        '<form id="filters" role="search" aria-label="Filter resources" hidden>'
        '<input type="search" name="search" placeholder="Search  ( / )" aria-label="Search" '
        f'aria-keyshortcuts="/" autocomplete="off" spellcheck="false">{"".join(selects)}{boxes}'
        '<span class="push"></span><output id="shown" aria-live="polite">'
        f"{len(rows):,} of {len(rows):,}</output>"
        '<button type="button" id="unfold">Open all</button></form>'
    )


def _select(name: str, title: str, choices: Mapping[str, str]) -> str:
    # A filter with one choice does nothing.
    if len(choices) < 2:
        return ""
    options = "".join(
        f'<option value="{cut_and_escape(value)}">{cut_and_escape(label)}</option>'
        for value, label in sorted(choices.items())
    )
    return (
        f'<label><span class="unseen">{title}</span><select name="{name}">'
        f'<option value="">{title}: all</option>{options}</select></label>'
    )


def _render_sections(sections: Iterable[PageSection], *, open_all: bool) -> Iterator[str]:
    first_index = 0
    for section in sections:
        name, number = section.name, section.row_or_item_count
        count = f' <span class="count" data-all="{number}">{number:,}</span>' if number else ""
        intro = f'<p class="intro">{section.intro}</p>' if section.intro else ""
        yield (
            f'<section id="{name}" aria-labelledby="{name}-title">'
            f'<h2 id="{name}-title">{section.title}{count}</h2>{intro}{section.list_html}'
        )
        is_long = len(section.rows) > _ROWS_PER_STACK
        for start in range(0, len(section.rows), _ROWS_PER_STACK):
            stack = section.rows[start : start + _ROWS_PER_STACK]
            row_htmls = (
                _render_row(row, n, is_open=open_all or (row.needs_decision and not is_long))
                for n, row in enumerate(stack, first_index)
            )
            yield f'<div class="stack">{"".join(row_htmls)}</div>'
            first_index += len(stack)
        yield "</section>"


def _render_row(row: HtmlRow, index: int, *, is_open: bool) -> str:
    action, kind = cut_and_escape(row.action), cut_and_escape(row.address.kind)
    facts = f'id="r{index}" data-action="{action}" data-kind="{kind}"'
    if row.causes:
        facts += f' data-cause="{" ".join(cause.value for cause in row.causes)}"'
    if row.needs_decision:
        facts += ' data-trouble="1"'
    style = f"row {_SIGN_STYLES.get(row.sign, 'quiet')}"
    tags = [f'<span class="tag">{tag}</span>' for tag in row.tags]
    tags += [f'<span class="tag {c.value}">{CAUSE_LABELS[c]}</span>' for c in row.causes]
    head = (
        f'<span class="sign" aria-hidden="true">{cut_and_escape(row.sign)}</span>'
        f'<span class="name">{render_code(row.address, 200)}</span> '
        f'<span class="words">{row.status_html}</span>{"".join(tags)}'
    )
    # Without a body there is nothing to expand.
    if not row.body:
        return f'<div class="{style} flat" {facts}>{head}</div>'
    opening = " open" if is_open else ""
    return (
        f'<details class="{style}" {facts}{opening}><summary>{head}</summary>'
        f'<div class="body">{row.body}</div></details>'
    )
