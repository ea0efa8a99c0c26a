"""Answers that come and say nothing: what is made is found, and told as what happened."""

from __future__ import annotations

import re

import pytest
from attack.lying import Answered, Asked, Liar
from e2e.scenarios.workplace import PLUGIN, Server, Workplace, project

PAGE = b"""<!DOCTYPE html><html lang=en><head><title>Web server is returning
an unknown error</title><style>body { color: red }</style></head><body>%s</body></html>"""


@pytest.fixture
def liar(ready: Workplace, server: Server):
    """A plugin and a storage, and something between the backend and who applies them."""
    ready.write("manifests/plugin.yaml", PLUGIN)
    with Liar(server.url).running() as liar:
        ready.write("synapse-apply.yaml", project(liar.url, settle_after=1))
        ready.run("state", "rebind", "--auto-approve", code=0)
        yield liar


@pytest.mark.parametrize("encoding", ["x", "br", "gzip, gzip", "gzip", "deflate"])
def test_a_create_whose_answer_cannot_be_decoded(
    liar: Liar, ready: Workplace, server: Server, encoding: str
) -> None:
    """It was answered, so no answer is lost; what can be looked up is, and is made once."""

    def lie(asked: Asked, answered: Answered) -> Answered:
        return answered.with_header("Content-Encoding", encoding) if is_made(asked) else answered

    liar.tells(lie)
    told = ready.apply(code=7).text
    assert "Warning: A useless answer: the outcome was looked up" in told
    assert "plugin/yolo was answered with an unusable answer" in told
    is_asked_for = encoding in {"gzip", "deflate"}
    why = "cannot be decoded" if is_asked_for else "has an encoding that was not requested"
    assert f"201 Created: its body {why}" in told
    for wrong in ("lost", "No answer", "connection", "yolo failed"):
        assert wrong not in told, told
    ready.apply(code=7)
    assert server.counts == (1, 0, 1)


def is_made(asked: Asked) -> bool:
    return asked.method == "POST" and asked.path.endswith(("/plugins/", "/storages/"))


@pytest.mark.parametrize("status", [520, 502, 403])
@pytest.mark.parametrize("title", [True, False])
def test_a_page_of_an_edge(liar: Liar, ready: Workplace, status: int, title: bool) -> None:
    """In a sentence with its title, and not poured out; with the id of the request."""
    page = PAGE % (b"x" * 1000)
    page = page if title else page.replace(b"title", b"meta")

    def lie(asked: Asked, answered: Answered) -> Answered:
        headers = (("Content-Type", "text/html"), ("X-Request-ID", "ray-1"))
        return Answered(status, headers, page) if is_made(asked) else answered

    liar.tells(lie)
    told = " ".join(ready.apply(code=7).text.split())
    shown = ' "Web server is returning an unknown error"' if title else ""
    assert f"the edge answered {status} with an HTML page{shown}." in told
    assert "Request id: ray-1" in told
    assert "<" not in told
    assert "xxxx" not in told


def test_texts_that_differ_far_behind(liar: Liar, ready: Workplace) -> None:
    """What the server has made of a long text is shown where it differs, both in quotes."""
    text = "Segments " + "very " * 30 + "large images.  "
    ready.write("manifests/plugin.yaml", PLUGIN.replace("Finds things", f'"{text}"'))
    told = ready.apply().text
    (sent, kept) = re.search(
        r"was sent as ('.*'), but the server has ('.*')\.$", told, re.MULTILINE
    ).groups()
    assert sent != kept
    assert sent.endswith(" images.  '")
    assert kept.endswith(" images.'")
    assert max(len(sent), len(kept)) < 80


def test_a_conflict_is_not_ended_by_another_apply(
    liar: Liar, ready: Workplace, server: Server
) -> None:
    """What is refused with 409 is refused again, and nothing says otherwise."""

    def lie(asked: Asked, answered: Answered) -> Answered:
        return Answered(409, (), b'{"detail": "is in use"}') if is_made(asked) else answered

    liar.tells(lie)
    told = ready.apply(code=3).text
    assert "the backend answered 409" in told
    assert "again to finish the rest" not in told
    assert "Resolve the conflict before" in told
