"""Server-sent events however they are cut, and JSON lists that are read while they arrive."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synapse_apply.client import lists
from synapse_apply.client.http import sse
from synapse_apply.client.lists import JsonItems, NotItemsError

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """The data in pieces, cut at these places."""
    places = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[a:b] for a, b in pairwise(places) if a < b]


def told(text: str) -> list[dict[str, Any]]:
    return list(sse.iter_server_sent_events_and_heartbeats([text.encode()]))


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ('data: {"type":"connected","job_id":7}\n\n', [{"type": "connected", "job_id": 7}]),
        ('data:{"type":"complete"}\r\n\r\n', [{"type": "complete"}]),
        ('data: {"type":"complete"}\r\r', [{"type": "complete"}]),
        ('data: {"type":\ndata: "log",\ndata: "data": 1}\n\n', [{"type": "log", "data": 1}]),
        (": heartbeat\n\n", [{"type": "heartbeat"}]),
        (":\n", [{"type": "heartbeat"}]),
        ("data: plain words\n\n", [{"type": "log", "data": "plain words"}]),
        ("data:  two blanks\n\n", [{"type": "log", "data": " two blanks"}]),
        ("data\n\n", [{"type": "log", "data": ""}]),
        ("data: [1]\n\n", [{"type": "log", "data": [1]}]),
        ('data: {"message": "m"}\n\n', [{"type": "log", "data": {"message": "m"}}]),
        ("event: log\nid: 3\nretry: 10\nnonsense\ndata: x\n\n", [{"type": "log", "data": "x"}]),
        ("\n\n\n", []),
        ("data: never ended", []),
        ("data: never ended\n", []),
        ("\ufeffdata: after a mark\n\n", [{"type": "log", "data": "after a mark"}]),
    ],
)
def test_frames(text: str, frames: list[dict[str, Any]]) -> None:
    """Ends of lines of three kinds, comments, several data lines, fields that mean nothing here."""
    assert told(text) == frames


def test_bytes_that_are_no_utf8_do_not_end_a_stream() -> None:
    """They show as what cannot be read."""
    assert list(sse.iter_server_sent_events_and_heartbeats([b"data: a\xffb\n\n"])) == [
        {"type": "log", "data": "a\ufffdb"}
    ]


@given(
    lines=st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"])), max_size=8),
    ends=st.sampled_from(["\n", "\r\n", "\r"]),
    cuts=st.lists(st.integers(0, 2000), max_size=20),
)
def test_where_a_stream_is_cut_does_not_matter(
    lines: list[str], ends: str, cuts: list[int]
) -> None:
    """Not inside a character, not between CR and LF."""
    frames = [{"type": "log", "data": line} for line in lines]
    text = "".join(
        f"data: {json.dumps(frame, ensure_ascii=False)}{ends}: heartbeat{ends}{ends}"
        for frame in frames
    )
    found = [
        frame
        for frame in sse.iter_server_sent_events_and_heartbeats(pieces(text.encode(), cuts))
        if frame["type"] != "heartbeat"
    ]
    assert found == frames


@pytest.mark.parametrize("piece", [b"x" * 65536, b"data: " + b"x" * 65000 + b"\n"])
def test_an_event_without_end_is_refused(piece: bytes) -> None:
    """Before it fills the memory."""
    with pytest.raises(sse.OversizedEventError):
        list(sse.iter_server_sent_events_and_heartbeats(piece for _ in range(10_000)))


@given(items=st.lists(JSON, max_size=6), cuts=st.lists(st.integers(0, 2000), max_size=20))
def test_items_of_a_list(items: list[Any], cuts: list[int]) -> None:
    """Each value as it is, wherever its text is cut."""
    data = json.dumps(items, ensure_ascii=False).encode("utf-8", "surrogatepass")
    if b"\xed" in data:
        data = json.dumps(items).encode()
    assert list(JsonItems(pieces(data, cuts), ("logs",))) == items


@given(
    items=st.lists(JSON, max_size=4),
    beside=st.dictionaries(st.sampled_from(["count", "next", "previous"]), JSON),
    cuts=st.lists(st.integers(0, 2000), max_size=20),
    indent=st.sampled_from([None, 2]),
)
def test_items_of_a_list_in_an_object(
    items: list[Any], beside: dict[str, Any], cuts: list[int], indent: int | None
) -> None:
    """Before and behind other values, which are kept."""
    text = json.dumps({**beside, "logs": items, "last": [1]}, indent=indent)
    found = JsonItems(pieces(text.encode(), cuts), ("logs", "results"))
    assert list(found) == items
    assert found.other_values == {**beside, "last": [1]}


@pytest.mark.parametrize(
    "text",
    ["", "  ", "1", '"text"', "{}", '{"logs": 1}', "[1 2]", "[1", '{"logs": [1], ', "[tru]",
     "<html>", "[" * 100_000],
)  # fmt: skip
def test_what_is_no_list(text: str) -> None:
    """Told as such, not as a crash."""
    with pytest.raises(NotItemsError):
        list(JsonItems([text.encode()], ("logs",)))


def test_an_item_without_end_is_refused() -> None:
    """Before it fills the memory."""
    blocks = (b'["' if number == 0 else b"x" * 1024 * 1024 for number in range(10_000))
    with pytest.raises(NotItemsError, match=str(lists.MAX_ITEM_LENGTH)):
        list(JsonItems(blocks, ()))
