"""The page around the rows: counts first, filters, sections, the graph, style and script within."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from importlib.resources import files

from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Cause
from synapse_apply.views.graph import Node
from synapse_apply.views.html.drawing import drawing
from synapse_apply.views.html.parts import CAUSES, code, text
from synapse_apply.views.html.rows import Row
from synapse_apply.views.safety import disarm

_FEW = 8  # so few rows stand open
_STACK = 50  # a browser draws only the stacks that are in sight
_NOTHING = (
    '<p id="nothing" hidden>Nothing matches. <button type="button">Clear the filters</button></p>'
)
_SIGNS = {"+": "come", "-": "gone", "~": "moved", "!": "trouble"}


@frozen
class Section:
    """A titled part of a page: `intro` is HTML, `listed` a list that no filter touches."""

    name: str
    title: str
    rows: Sequence[Row] = ()
    listed: str = ""
    count: int = 0
    intro: str = ""

    @property
    def size(self) -> int:
        """How many things are in it."""
        return len(self.rows) or self.count


@frozen
class Page:
    """What one page holds. `title` is raw; `said`, `facts` and the foot are HTML.

    `next_steps` are lines of HTML. `tone` is good, bad or plain; a fact of `counts` is a word, how
    many, and how it is coloured.
    """

    title: str
    tone: str
    said: Sequence[str]
    facts: str
    sections: Sequence[Section]
    counts: Sequence[tuple[str, int, str]] = ()
    nodes: Sequence[Node] = ()
    foot: str = ""
    trouble: str = "Only refused"
    target: str = ""
    next_steps: Sequence[str] = ()

    def html(self) -> str:
        """The whole document; the same input, the same text."""
        kept = [section for section in self.sections if section.size or section.intro]
        rows = [row for section in kept for row in section.rows]
        names: dict[str, str] = {}
        for at, row in enumerate(rows):
            names.setdefault(str(row.address), f"r{at}")
        parts = [
            _head(self.title),
            _top(self),
            _next_steps(self.next_steps),
            _contents(kept),
            _filters(rows, self.trouble),
            "<main>",
            *_sections(kept, opened=len(rows) <= _FEW),
            _graph(drawing(self.nodes, names, self.target)),
            _NOTHING,
            f"</main><footer>{self.foot}</footer>",
            f"<script>{_asset('page.js')}</script></body></html>",
        ]
        return disarm("\n".join(part for part in parts if part) + "\n")


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _head(title: str) -> str:
    """Nothing is fetched, and nothing runs but this style and this script."""
    style = _asset("page.css")
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; "
        f"script-src '{_digest(_asset('page.js'))}'; base-uri 'none'; form-action 'none'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer"><meta name="robots" content="noindex">\n'
        f"<title>{text(title)}</title>\n<style>{style}</style></head><body>"
    )


def _digest(content: str) -> str:
    return f"sha256-{b64encode(sha256(content.encode()).digest()).decode()}"


def _top(page: Page) -> str:
    said = "".join(f'<p class="said">{line}</p>' for line in page.said)
    tiles = "".join(
        f'<li class="{tone}"><b>{count:,}</b> {word}</li>'
        for word, count, tone in page.counts
        if count
    )
    counts = f'<ul class="counts" aria-label="Counts">{tiles}</ul>' if tiles else ""
    return (
        f'<header class="{page.tone}"><div class="bar"><h1>{text(page.title, 200)}</h1>'
        '<button type="button" id="theme" hidden>Dark or light</button></div>'
        f'{said}{counts}<p class="fact">{page.facts}</p></header>'
    )


def _next_steps(steps: Sequence[str]) -> str:
    """What to do next, first things first; "" where there is nothing to do."""
    items = "".join(f"<li>{step}</li>" for step in steps)
    title = '<h2 id="next-title">What to do next</h2>'
    section = '<section id="next" aria-labelledby="next-title">'
    return f"{section}{title}<ol>{items}</ol></section>" if items else ""


def _contents(sections: Iterable[Section]) -> str:
    links = "".join(
        f'<li><a href="#{s.name}">{s.title}</a> <span>{s.size:,}</span></li>'
        for s in sections
        if s.size
    )
    return f'<nav aria-label="Sections"><ul>{links}</ul></nav>' if links else ""


def _filters(rows: Sequence[Row], trouble: str) -> str:
    """Hidden until the script shows it: without one there is nothing it could do."""
    if not rows:
        return ""
    causes = {cause for row in rows for cause in row.causes}
    chosen = [
        _choice("action", "Action", {row.action: row.action for row in rows}),
        _choice("kind", "Kind", {row.address.kind: row.address.kind for row in rows}),
        _choice("cause", "Cause", {c.value: CAUSES[c] for c in Cause if c in causes}),
    ]
    box = f'<label><input type="checkbox" name="trouble"> {trouble}</label>'
    boxes = box if any(row.trouble for row in rows) else ""
    return (
        '<form id="filters" role="search" aria-label="Filter resources" hidden>'
        '<input type="search" name="search" placeholder="Search  ( / )" aria-label="Search" '
        f'aria-keyshortcuts="/" autocomplete="off" spellcheck="false">{"".join(chosen)}{boxes}'
        '<span class="push"></span><output id="shown" aria-live="polite">'
        f"{len(rows):,} of {len(rows):,}</output>"
        '<button type="button" id="unfold">Open all</button></form>'
    )


def _choice(name: str, title: str, choices: Mapping[str, str]) -> str:
    if len(choices) < 2:
        return ""
    options = "".join(
        f'<option value="{text(value)}">{text(choices[value])}</option>'
        for value in sorted(choices)
    )
    return (
        f'<label><span class="unseen">{title}</span><select name="{name}">'
        f'<option value="">{title}: all</option>{options}</select></label>'
    )


def _sections(sections: Iterable[Section], *, opened: bool) -> Iterable[str]:
    at = 0
    for section in sections:
        count = f' <span class="count" data-all="{section.size}">{section.size:,}</span>'
        head = f'<h2 id="{section.name}-title">{section.title}{count if section.size else ""}</h2>'
        intro = f'<p class="intro">{section.intro}</p>' if section.intro else ""
        yield (
            f'<section id="{section.name}" aria-labelledby="{section.name}-title">'
            f"{head}{intro}{section.listed}"
        )
        for start in range(0, len(section.rows), _STACK):
            stack = section.rows[start : start + _STACK]
            shown = (_row(row, n, opened=opened or row.trouble) for n, row in enumerate(stack, at))
            yield f'<div class="stack">{"".join(shown)}</div>'
            at += len(stack)
        yield "</section>"


def _row(row: Row, at: int, *, opened: bool) -> str:
    causes = " ".join(cause.value for cause in row.causes)
    told = {"id": f"r{at}", "data-action": row.action, "data-kind": row.address.kind}
    told |= {"data-cause": causes} if causes else {}
    told |= {"data-trouble": "1"} if row.trouble else {}
    facts = " ".join(f'{name}="{text(value)}"' for name, value in told.items())
    style = f"row {_SIGNS.get(row.sign, 'quiet')}"
    tags = [f'<span class="tag">{tag}</span>' for tag in row.tags]
    tags += [f'<span class="tag {c.value}">{CAUSES[c]}</span>' for c in row.causes if c in CAUSES]
    head = (
        f'<span class="sign" aria-hidden="true">{text(row.sign)}</span>'
        f'<span class="name">{code(row.address, 200)}</span> '
        f'<span class="words">{row.words}</span>{"".join(tags)}'
    )
    if not row.body:
        return f'<div class="{style} flat" {facts}>{head}</div>'
    opening = " open" if opened else ""
    return (
        f'<details class="{style}" {facts}{opening}><summary>{head}</summary>'
        f'<div class="body">{row.body}</div></details>'
    )


def _graph(drawn: str) -> str:
    if not drawn:
        return ""
    return (
        '<section id="graph" aria-labelledby="graph-title"><h2 id="graph-title">Dependencies</h2>'
        f'<p class="intro">An arrow leads to what is needed.</p>{drawn}</section>'
    )
