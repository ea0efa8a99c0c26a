"""An HTML report as a strict reader sees it: what it is made of, and what it says."""

from __future__ import annotations

import re
from functools import lru_cache

from unit.views.plain_tags import PlainTagParser

VOID = {"meta", "br", "wbr", "input"}
TAGS = {
    "html", "head", "meta", "title", "style", "body", "header", "div", "h1", "h2", "h3", "button",
    "p", "ul", "ol", "li", "b", "nav", "a", "span", "form", "input", "label", "select", "option",
    "output", "main", "section", "details", "summary", "code", "pre", "table", "thead", "tbody",
    "tr", "th", "td", "br", "wbr", "strong", "footer", "script", "svg", "defs", "marker", "path",
    "g", "rect", "text",
}  # fmt: skip
# A name with a pattern is one whose value is ours alone.
ATTRIBUTES = {
    "class": r"[a-z\- ]+", "id": r"[a-z]+[0-9]*(-title)?", "href": r"#[a-z]+[0-9]*|https?://[a-z.]+(:\d+)?/[A-Za-z0-9._~%+/\-]*(#L\d+)?", "lang": "en",
    "charset": "utf-8", "http-equiv": "Content-Security-Policy", "name": r"[a-z]+",
    "type": "button|search|checkbox", "colspan": r"\d", "scope": "col|row", "hidden": None,
    "open": None, "tabindex": "0", "role": "search|group", "data-action": r"[a-z\- ]+",
    "data-cause": r"[a-z ]+", "data-trouble": "1", "data-all": r"\d+", "data-kind": None,
    "value": None, "content": None, "placeholder": None, "aria-label": None, "aria-live": "polite",
    "aria-hidden": "true", "aria-labelledby": r"[a-z]+-title", "aria-keyshortcuts": "/",
    "autocomplete": "off", "spellcheck": "false", "viewbox": r"[0-9 ]+", "width": r"\d+",
    "height": r"\d+", "x": r"\d+", "y": r"\d+", "rx": "5", "refx": "8", "refy": "4",
    "markerwidth": "7", "markerheight": "7", "orient": "auto", "d": r"[0-9MC\-. z]+",
    "rel": "noopener noreferrer", "marker-end": r"url\(#arrow\)",
}  # fmt: skip


@lru_cache(maxsize=4096)
def matches_whole(pattern: str, value: str) -> bool:
    return re.fullmatch(pattern, value) is not None


class Leaf(PlainTagParser):
    """Fails on a tag or an attribute that is none of ours, and on one that does not close."""

    known_tags = TAGS
    known_attributes = ATTRIBUTES
    void_tags = VOID

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.leads: list[str] = []  # out of the page
        self.rows: list[dict[str, str]] = []
        self.policy = ""
        self._pieces: dict[str, list[str]] = {}
        self._said: list[str] = []
        self._within: list[str] = []
        self.feed(page)
        self.close()
        self.texts = {tag: "".join(pieces) for tag, pieces in self._pieces.items()}
        self.said = "".join(self._said)
        assert self._within == []
        assert len(self.ids) == len(set(self.ids))
        assert {link.removeprefix("#") for link in self.links} <= set(self.ids)

    def handle_starttag(self, tag, attrs):
        assert tag in self.known_tags, tag
        facts = dict(attrs)
        assert len(facts) == len(attrs)
        for name, value in attrs:
            pattern = self.known_attributes[name]
            assert pattern is None or matches_whole(pattern, value), (name, value)
        self.tags.append(tag)
        self.ids += [facts["id"]] if "id" in facts else []
        href = facts.get("href", "")
        (self.links if href.startswith("#") else self.leads).extend([href] if href else [])
        if facts.get("http-equiv"):
            self.policy = facts["content"]
        if "row" in facts.get("class", "").split():
            self.rows.append(facts)
        if tag not in self.void_tags and tag not in {"path", "rect"}:
            self._within.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in {"path", "rect"}
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        assert self._within.pop() == tag

    def handle_data(self, data):
        tag = self._within[-1] if self._within else ""
        self._pieces.setdefault(tag, []).append(data)
        if tag not in {"style", "script"}:
            self._said.append(data)

    def handle_comment(self, data):
        raise AssertionError(data)

    def handle_decl(self, decl):
        assert decl == "DOCTYPE html"

    handle_pi = unknown_decl = handle_comment
