"""The quick parser sees what `html.parser` sees."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws.effort import effort
from unit.views.plain_tags import PlainTagParser

PIECES = [
    "<p>", "</p>", '<p class="a b">', "<p class='a'>", "<p a=b>", "<P>", "</P>", "<p a>", "<p  a>",
    '<p a="">', '<p a="&lt;x">', '<p a=">">', '<p a="x"b="y">', '<p a="x" a="y">', "<br/>",
    "<br />", '<p a="x', "<p", "</p", "</p x>", "</ p>", "<script>", "</script>", "</script >",
    '<style a="b">', "</style>", "<title>", "</title>", "<textarea>", "</textarea>", "<!--", "-->",
    "<!DOCTYPE html>", "<![CDATA[", "]]>", "<?x?>", "<!x>", "&lt;", "&#60;", "&", "<", ">", '"', "'",
    "\n", " ", "x", "=", "/", "<a-b>", '<h1 data-x="1" hidden>', "<svg>", "<1>", "\0",
]  # fmt: skip


def list_calls(parser: type[HTMLParser], page: str) -> list[tuple[Any, ...]]:
    """What a parser calls, in its order."""
    calls: list[tuple[Any, ...]] = []

    class Recorder(parser):
        pass

    for name in ("starttag", "endtag", "startendtag", "data", "comment", "decl", "pi"):
        setattr(
            Recorder, f"handle_{name}", lambda _, *found, name=name: calls.append((name, *found))
        )
    Recorder.unknown_decl = lambda _, found: calls.append(("unknown", found))
    one = Recorder(convert_charrefs=True)
    one.feed(page)
    one.close()
    return calls


@effort(38, 1500)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_any_page_is_read_alike(page):
    assert list_calls(PlainTagParser, page) == list_calls(HTMLParser, page)


@pytest.mark.parametrize("piece", PIECES, ids=ascii)
def test_each_piece_within_others_is_read_alike(piece):
    for page in (
        piece,
        f"{piece}<p>x</p>",
        f"<p>x{piece}</p>x",
        f"<p {piece}>",
        f'<p a="{piece}">x',
    ):
        assert list_calls(PlainTagParser, page) == list_calls(HTMLParser, page)
