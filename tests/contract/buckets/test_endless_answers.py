"""A bucket's server whose objects or lists never end: an error in time, and nothing goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from buckets.folders import open_folder_at
from contract.buckets.test_bucket_errors import refusal
from echoing import echoing
from forges.loopback_server import wait_until

from synapse_apply.stores.bucket import obstore_folder

ENVIRON = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "never-sent"}
PAGE = """<?xml version="1.0"?><ListBucketResult><Name>b</Name><IsTruncated>true</IsTruncated>
<NextContinuationToken>{}</NextContinuationToken>{}</ListBucketResult>"""
KEY = """<Contents><Key>prod/links/{:012}</Key><LastModified>2026-12-01T00:00:00.000Z</LastModified>
<ETag>"x"</ETag><Size>100</Size></Contents>"""


class Endless(BaseHTTPRequestHandler):
    """Lists page after page, each `empty` or full; an object has as many MiB as `how` says.

    Where `how` is `fat`, a page has a GiB of white space, and so has what refuses a write.
    """

    how = ""
    sent = 0
    pages = 0

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        if self.how == "fat":
            self._send_fat(200)
        elif "list-type" in urlsplit(self.path).query:
            page = int(dict(parse_qsl(self.path)).get("continuation-token", "0"))
            Endless.pages += 1
            count = 0 if self.how == "empty" else 1000
            keys = "".join(KEY.format(page * 1000 + number) for number in range(count))
            self._begin(len(body := PAGE.format(page + 1, keys).encode()))
            self.wfile.write(body)
        else:
            self._begin(int(self.how) * 1024**2)
            self._send(int(self.how), b"x")

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._send_fat(403)

    def _send_fat(self, status: int) -> None:
        self._begin(1024**3, status)
        with suppress(OSError):
            self._send(1024, b" ")

    def _send(self, count: int, letter: bytes) -> None:
        for _ in range(count):
            self.wfile.write(letter * 1024**2)
            Endless.sent += 1

    def _begin(self, length: int, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.send_header("ETag", '"x"')
        self.send_header("Last-Modified", "Tue, 01 Dec 2026 00:00:00 GMT")
        self.end_headers()


Open = Callable[..., Any]


@pytest.fixture
def open_endless() -> Iterator[Open]:
    """A folder of a server whose objects have so many MiB."""
    opened: list[Any] = []

    def open_one(endpoint: str, deadline: float = 20.0) -> Any:
        url = f"s3://states/prod?region=eu-west-1&endpoint={endpoint}"
        opened.append(open_folder_at(url, ENVIRON, deadline))
        return opened[-1]

    Endless.sent = Endless.pages = 0
    yield open_one
    for folder in opened:
        folder.close()


def test_an_object_that_is_too_large_is_not_read(open_endless: Open) -> None:
    """Its size says so, before a byte of it is taken."""
    with echoing(Endless, "513") as endpoint:
        words = refusal(lambda: open_endless(endpoint).get_or_none_if_absent("links/1"))
    assert "returned more data than a state can have" in words
    assert "more than 512 MiB" in words
    assert Endless.sent < 100


def test_objects_that_are_too_large_together_are_not_read(
    open_endless: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of one operation are counted together."""
    monkeypatch.setattr(obstore_folder, "MOST_BYTES", 5 * 1024**2)
    names = [f"links/{number}" for number in range(30)]
    with echoing(Endless, "4") as endpoint:
        folder = open_endless(endpoint)
        assert len(folder.get_or_none_if_absent("links/1")) == 4 * 1024**2
        words = refusal(lambda: folder.get_objects_or_none_in_order(names))
    assert "returned more data than a state can have" in words


def test_a_list_without_end_is_given_up(
    open_endless: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many names."""
    monkeypatch.setattr(obstore_folder, "MOST_NAMES", 3000)
    with echoing(Endless, "1") as endpoint:
        words = refusal(lambda: open_endless(endpoint).list_objects("links/"))
    assert "returned more data than a state can have" in words
    assert Endless.pages <= 6


@pytest.mark.parametrize("how", ["1", "empty"])
def test_a_list_that_takes_too_long_does_not_go_on(open_endless: Open, how: str) -> None:
    """Who exits waits for its thread; also where no page has a name."""
    with echoing(Endless, how) as endpoint:
        folder = open_endless(endpoint, deadline=0.5)
        assert "no answer arrived in time" in refusal(lambda: folder.list_objects("links/"))

        def is_quiet() -> bool:
            pages = Endless.pages
            time.sleep(0.5)
            return Endless.pages == pages

        wait_until(is_quiet, 30, "the end of the list")


def test_a_fat_answer_is_given_up_while_it_comes(
    open_endless: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """obstore keeps a page, and a refusal, whole: memory tells of it first."""
    monkeypatch.setattr(obstore_folder, "MOST_GROWTH", 64 * 1024**2)
    with echoing(Endless, "fat") as endpoint:
        folder = open_endless(endpoint)
        assert "one answer takes more than 2 GiB" in refusal(lambda: folder.list_objects("links/"))
        assert 0 < Endless.sent < 1000
        # Whether it was carried out is found out.
        assert not folder.try_put_if_absent_and_tell_if_certain("links/1", b"x")
        assert 0 < Endless.sent < 2000
