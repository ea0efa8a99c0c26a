"""Release packages: streamed in constant memory, in the form the platform reads."""

from __future__ import annotations

import io
import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from unit.client.scripted import Received, answer, hang, reset

from synapse_apply import ClientError
from synapse_apply.client.http.multipart import MultipartBody
from synapse_apply.model.errors import Effect, InputError, RemoteTimeout

LARGE = bytes(range(256)) * 100_000  # more than the buffers of a connection hold
DATA = {"plugin": 123, "version": "2.0.0", "is_stable": True, "changelog": None}


def parts(request: Received) -> list[tuple[str, str | None, bytes]]:
    """(name, filename, content) of each part of a form."""
    boundary = re.search("boundary=(.+)", request.headers["content-type"])
    assert boundary
    mark = b"--" + boundary[1].encode()
    chunks = request.body.split(mark)
    assert (chunks[0], chunks[-1]) == (b"", b"--\r\n")
    found = []
    for chunk in chunks[1:-1]:
        head, _, content = chunk.partition(b"\r\n\r\n")
        names = dict(re.findall(r'(\w+)="([^"]*)"', head.decode()))
        found.append((names["name"], names.get("filename"), content.removesuffix(b"\r\n")))
    return found


def test_form_values(server, client):
    """Booleans in Python's words, lists as repeated parts, maps as JSON, nulls left out."""
    data: dict[str, Any] = {
        **DATA,
        "requirements": ["a", "b"],
        "config": {"k": [1, "é"]},
        "empty": [],
    }
    client.create_plugin_release({**data, "file": io.BytesIO(b"PK")})
    (request,) = server.received
    assert (request.method, request.path) == ("POST", "/plugin_releases/")
    assert int(request.headers["content-length"]) == len(request.body)
    *fields, file = parts(request)
    assert file == ("file", "package.zip", b"PK")
    assert [(name, value.decode()) for name, _, value in fields] == [
        ("plugin", "123"),
        ("version", "2.0.0"),
        ("is_stable", "True"),
        ("requirements", "a"),
        ("requirements", "b"),
        ("config", json.dumps({"k": [1, "é"]}, ensure_ascii=False)),
    ]


def test_a_file_with_only_length_and_rewind(server, client):
    """A reader of ours need not be a whole file object."""

    class Package:
        def __init__(self) -> None:
            self.at = 0

        def __len__(self) -> int:
            return 6

        def rewind(self) -> None:
            self.at = 0

        def read(self, size: int) -> bytes:
            block = b"abcdef"[self.at : self.at + min(size, 2)]
            self.at += len(block)
            return block

    client.create_plugin_release({**DATA, "file": Package()})
    assert parts(server.received[0])[-1][2] == b"abcdef"


def test_a_429_is_sent_again_from_the_first_byte(server, client):
    """The second body is as whole as the first."""
    server.then(answer(429), answer(201, {"id": 1}))
    client.create_plugin_release({**DATA, "file": io.BytesIO(b"x" * 200_000)})
    first, second = server.received
    assert first.body == second.body


def test_an_upload_that_is_cut_is_sent_again_whole(server, client):
    """What a server got only a part of it cannot have acted on: a repeat does no harm."""
    server.cuts.extend([1000, 3_000_000])
    server.then(answer(201, {"id": 1}))
    assert client.create_plugin_release({**DATA, "file": io.BytesIO(LARGE)}) == {"id": 1}
    *_, whole = server.received
    assert len(server.received) == 3
    assert parts(whole)[-1][2] == LARGE


def test_an_upload_that_is_cut_each_time_had_no_effect(server, client):
    """The error says so, and no lookup is needed to know."""
    server.cuts.extend([1000] * 4)
    with pytest.raises(ClientError, match="Only a part of the upload was sent") as caught:
        client.create_plugin_release({**DATA, "file": io.BytesIO(LARGE)})
    assert caught.value.effect is Effect.NONE
    assert len(server.received) == 4


def test_an_upload_that_is_whole_and_unanswered_is_sent_once(server, client):
    """The last byte has left: nobody knows what the server did."""
    server.then(reset())
    with pytest.raises(ClientError, match="may have acted") as caught:
        client.create_plugin_release({**DATA, "file": io.BytesIO(LARGE)})
    assert caught.value.effect is Effect.UNKNOWN
    assert len(server.received) == 1


def test_memory_stays_constant(tmp_path):
    """64 MiB pass through block by block; the whole is never held."""
    path = tmp_path / "big.zip"
    with path.open("wb") as big:
        big.truncate(64 * 1024 * 1024)
    tracemalloc.start()
    try:
        body = MultipartBody(DATA, path)
        assert sum(len(block) for block in body) == len(body) > 64 * 1024 * 1024
        body.close()
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    finally:
        tracemalloc.stop()


def unreadable(tmp_path: Path) -> dict[str, Any]:
    closed = io.BytesIO(b"x")
    closed.close()
    return {
        "missing": tmp_path / "no.zip",
        "folder": tmp_path,
        "closed": closed,
        "text": io.StringIO("x"),
        "number": 5,
    }


@pytest.mark.parametrize("name", ["missing", "folder", "closed", "text", "number"])
def test_files_that_cannot_be_sent(server, client, tmp_path, name):
    """Refused before anything is sent, with the reason."""
    with pytest.raises(ClientError, match="not sent") as caught:
        client.create_plugin_release({**DATA, "file": unreadable(tmp_path)[name]})
    assert server.received == []
    assert caught.value.effect is Effect.NONE


class Changing(io.BytesIO):
    """A file that is not the size it was."""

    def __init__(self, by: int) -> None:
        super().__init__(b"x" * 100)
        self.by = by

    def seek(self, offset: int, whence: int = 0) -> int:
        return super().seek(offset, whence) - (self.by if whence else 0)


@pytest.mark.parametrize(("by", "words"), [(10, "grew"), (-10, "shrank")])
def test_a_file_that_changes_while_it_is_sent(client, by, words):
    """The body is never completed, so the server cannot act on it."""
    with pytest.raises(ClientError, match=words) as caught:
        client.create_plugin_release({**DATA, "file": Changing(by)})
    assert caught.value.effect is Effect.NONE


def test_a_reader_that_refuses_passes_its_own_error(client):
    """A digest that is checked while the bytes are read ends the call with its own words."""

    class Verified(io.BytesIO):
        def read(self, _size: int | None = -1) -> bytes:
            raise InputError.from_summary("the package changed since it was planned")

    with pytest.raises(InputError, match="changed since"):
        client.create_plugin_release({**DATA, "file": Verified(b"xx")})


def test_uploads_have_time_by_their_size(server, connect):
    """A call's total time grows with its body, and no longer."""
    client = connect(server, read_timeout=0.05, total_timeout=0.1, upload_rate=10_000)
    assert client.max_call_seconds() == pytest.approx(0.1)
    assert client.max_call_seconds(5_000) == pytest.approx(0.6)
    server.then(hang())
    with pytest.raises(RemoteTimeout):
        client.create_plugin_release({**DATA, "file": io.BytesIO(b"x" * 100)})
