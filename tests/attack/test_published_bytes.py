"""Bytes at a URL that a server names: it may lead anywhere, give anything, and is a credential."""

from __future__ import annotations

import io
import json
import logging
import socket
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from answering import Answering, Asked, answering
from e2e.scenarios.workplace import TOKEN, Workplace, project

from synapse_apply import BackendClient, RemoteError

SIGNATURE = "X-Amz-Signature=5ecretsignature0123456789"
MOST = 1024 * 1024


def zip_of(**files: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in {"config.yaml": "code: yolo\n", **files}.items():
            archive.writestr(name, text)
    return out.getvalue()


PACKAGE = zip_of()


class Site:
    """A backend with one release, and the storage that its `file` leads to, on one server."""

    def __init__(self) -> None:
        self.bytes: Any = (200, PACKAGE)
        self.file: Any = None
        self.version = "1.0.0"

    def answer(self, asked: Asked) -> Any:
        if asked.path.startswith("/storage/"):
            return self.bytes(asked) if callable(self.bytes) else self.bytes
        if asked.path == "/plugin_releases/7/":
            file = self.file or f"{self.url}/storage/p.zip?{SIGNATURE}"
            return 200, {"id": 7, "plugin": 1, "version": self.version, "file": file}
        if asked.path == "/plugins/1/":
            return 200, {"id": 1, "name": "Yolo", "code": "yolo"}
        return 404, {"detail": "no"}

    url = ""


@pytest.fixture
def site() -> Iterator[tuple[Site, Answering]]:
    made = Site()
    with answering(made.answer) as at:
        made.url = at.url
        yield made, at


@pytest.fixture
def place(site: tuple[Site, Answering], tmp_path: Path) -> Workplace:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "synapse-apply.yaml").write_text(project(site[1].url), encoding="utf-8")
    made = Workplace(tmp_path, {"PROD_TOKEN": TOKEN})
    made.run("state", "init", code=0)
    return made


def take(place: Workplace, code: int = 0) -> Any:
    return place.run("import", "release/yolo@1.0.0", "7", code=code)


def recorded(place: Workplace) -> Any:
    return place.run("state", "show", "release/yolo@1.0.0", "--json", code=0).document


def proofs(site: tuple[Site, Answering]) -> list[Asked]:
    return [one for one in site[1].asked if one.path.startswith("/storage/")]


def test_an_import_reads_the_bytes_and_sends_no_header_of_ours(place: Any, site: Any) -> None:
    """No token, no tenant, no cookie; the digest is recorded, the URL nowhere."""
    out = take(place)
    (asked,) = proofs(site)
    sent = {name.lower() for name in asked.headers}
    assert sent == {"host", "accept", "accept-encoding", "user-agent"}
    assert TOKEN not in json.dumps(asked.headers)
    record = recorded(place)
    assert record["digest"].startswith("pkg1:sha256:")
    assert record["proven"]["digest"] == record["digest"]
    everything = b"".join(file.read_bytes() for file in place.root.rglob("*") if file.is_file())
    assert b"5ecretsignature" not in everything
    assert "5ecretsignature" not in out.out + out.err


def test_the_same_bytes_prove_themselves_again(place: Any, site: Any) -> None:
    """Whatever the zip around them is like; other bytes end in exit 3, and record nothing."""
    take(place)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("config.yaml", (2001, 1, 1, 0, 0, 0)), "code: yolo\n")
    site[0].bytes = (200, out.getvalue())
    ran = place.run("verify", "release/yolo@1.0.0", "--bytes", code=0)
    assert "the published bytes match the record (pkg1:sha256:" in ran.out
    before = recorded(place)
    site[0].bytes = (200, zip_of(extra="x"))
    ran = place.run("verify", "release/yolo@1.0.0", "--bytes", code=3)
    assert "differ from the recorded bytes" in ran.err
    assert recorded(place) == before
    document = place.run("verify", "release/yolo@1.0.0", "--bytes", "--json", code=3).document
    assert document["bytes"][0]["result"] == "different"
    assert document["bytes"][0]["published"] != document["bytes"][0]["recorded"]


def test_an_import_without_bytes_asks_no_other_host(place: Any, site: Any) -> None:
    """`--no-bytes`: the object is recorded, and what its URL leads to is not asked."""
    place.run("import", "release/yolo@1.0.0", "7", "--no-bytes", code=0)
    assert proofs(site) == []
    assert "proven" not in {key for key, value in recorded(place).items() if value}


def test_a_row_with_another_digest_is_no_import(place: Any, site: Any) -> None:
    """All or nothing: the bytes speak against it."""
    row = {"address": "release/yolo@1.0.0", "id": "7", "digest": f"pkg1:sha256:{'ab' * 32}"}
    (place.root / "rows.yaml").write_text(json.dumps({"inventory": [row]}), encoding="utf-8")
    ran = place.run("import", "-f", "rows.yaml", code=1)
    assert "The published bytes do not match" in ran.err
    place.run("state", "show", "release/yolo@1.0.0", code=1)


def bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * (150 * 1024 * 1024), compresslevel=1)
    return out.getvalue()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((200, b"no zip at all"), "Not a usable zip"),
        ((200, PACKAGE[:-30]), "Not a usable zip"),
        ((403, b"<Error>expired</Error>"), "answered 403; its signature may have expired"),
        ((500, b""), "answered 500"),
        ((200, b"", {"Content-Encoding": "gzip"}), "an encoding that was not requested"),
        ((302, b"", {"Location": "file:///etc/passwd"}), "not a URL of http or https"),
        ((302, b"", {"Location": "http://u:p@127.0.0.1/x"}), "contains a user name"),
        ((302, b"", {"Location": "http://169.254.169.254/latest"}), "link-local address"),
        ((302, b"", {"Location": "http://10.0.0.1/x"}), "private address"),
        ((302, b"", {"Location": "http://[::ffff:10.0.0.1]/x"}), "private address"),
        ((302, b"", {"Location": "http://[fe80::1]/x"}), "link-local address"),
        ((302, b"", {"Location": "http://a b/x"}), "characters that a URL cannot have"),
        ((302, b"", {"Location": f"/storage/again?{SIGNATURE}"}), "redirected too often"),
        ((200, bomb), ""),
    ],
)
def test_what_a_storage_may_answer(place: Any, site: Any, answer: Any, words: str) -> None:
    """A warning of import, exit 3 of verify; the record stays, and no URL is told."""
    status, body, *more = answer
    site[0].bytes = (status, body() if callable(body) else body, *more)
    ran = take(place)
    assert "The published bytes were not read" in ran.err
    assert recorded(place)["digest"] is None
    ran = place.run("verify", "release/yolo@1.0.0", "--bytes", code=3)
    assert words in ran.err
    assert "5ecretsignature" not in ran.text
    assert "/storage/" not in ran.text


@pytest.mark.parametrize(
    "file",
    [
        "ftp://storage.example/p.zip",
        "https://169.254.169.254/latest/meta-data",
        "http://192.168.0.1/x",
        "https://[::ffff:169.254.169.254]/",
        "javascript:alert(1)",
        "https://" + "a" * 20000,
        "https://h\n.example/",
        "https://user:pw@example.com/p.zip",
        "//",
        "http://[",
    ],
)
def test_a_url_that_is_never_fetched(place: Any, site: Any, file: str) -> None:
    """The backend is on loopback, which opens loopback and nothing else that is near."""
    site[0].file = file
    ran = take(place)
    assert "The published bytes were not read" in ran.err
    assert "pw@" not in ran.text
    assert proofs(site) == []


@pytest.mark.parametrize("file", [{"name": "p.zip"}, 5, True, [], ""])
def test_what_is_no_url_is_none(place: Any, site: Any, file: Any) -> None:
    """Other servers have other things there; import is quiet about it."""
    site[0].file = file or " "
    ran = take(place)
    assert ran.code == 0
    assert recorded(place)["digest"] is None


def test_a_file_that_does_not_end_is_given_up(site: Any) -> None:
    """At its bound, whether its length was told or not."""
    client = BackendClient(site[1].url, "a-token-of-tests")
    for size, most in ((MOST + 1, MOST), (3 * MOST, MOST)):
        site[0].bytes = (200, b"x" * size)
        into = io.BytesIO()
        with pytest.raises(RemoteError, match=f"more than {MOST} bytes"):
            client.fetch_release_file(f"{site[1].url}/storage/x?{SIGNATURE}", into, most)
        assert len(into.getvalue()) <= most
    client.close()


def fetch_repeating(url: str, retries: int = 3, **more: Any) -> tuple[bytes, list[float]]:
    """What a fetch wrote after the bytes that stood there, and how long it waited in between."""
    waits: list[float] = []
    client = BackendClient(
        url, "a-token-of-tests", retries=retries, sleep=waits.append, jitter=lambda: 1.0, **more
    )
    into = io.BytesIO(b"head")
    into.seek(4)
    with client:
        client.fetch_release_file(f"{url}/storage/x?{SIGNATURE}", into, MOST)
    assert into.getvalue()[:4] == b"head"
    return into.getvalue()[4:], waits


def failing_first(times: int, failure: Any) -> Any:
    """An answer of the storage that is `failure` so many times, then the package."""
    asked: list[Asked] = []

    def answer(one: Asked) -> Any:
        asked.append(one)
        return failure if len(asked) <= times else (200, PACKAGE)

    return answer


CUT = {"Content-Length": str(len(PACKAGE) + 100), "Connection": "close"}


@pytest.mark.parametrize(
    ("failure", "waits"),
    [
        ((503, b"<Error>SlowDown</Error>"), [0.5, 1.0]),
        ((502, b""), [0.5, 1.0]),
        ((504, b""), [0.5, 1.0]),
        ((503, b"", {"Retry-After": "3"}), [3.0, 3.0]),
        ((429, b"", {"Retry-After": "7"}), [7.0, 7.0]),
        ((200, PACKAGE, CUT), [0.5, 1.0]),
        ((200, b"", CUT), [0.5, 1.0]),
    ],
)
def test_what_passes_is_fetched_again(site: Any, failure: Any, waits: list[float]) -> None:
    """As any read is; a file that was cut off half-way begins anew, and no header of ours is sent."""
    site[0].bytes = failing_first(2, failure)
    assert fetch_repeating(site[1].url) == (PACKAGE, waits)
    assert len(proofs(site)) == 3
    sent = {name.lower() for asked in proofs(site) for name in asked.headers}
    assert sent == {"host", "accept", "accept-encoding", "user-agent"}


@pytest.mark.parametrize(
    ("failure", "times", "words"),
    [
        ((503, b""), 4, "answered 503"),
        ((200, PACKAGE, CUT), 4, "before the whole file arrived"),
        ((403, b""), 1, "its signature may have expired"),
        ((404, b""), 1, "answered 404"),
        ((302, b"", {"Location": "http://10.0.0.1/x"}), 1, "private address"),
        ((200, b"x" * (MOST + 1)), 1, f"more than {MOST} bytes"),
        ((503, b"", {"Retry-After": "3600"}), 1, "answered 503"),
    ],
)
def test_what_lasts_is_not(site: Any, failure: Any, times: int, words: str) -> None:
    """So many attempts as reads have, one of what no repeat can change, and no wait too long."""
    site[0].bytes = failing_first(99, failure)
    with pytest.raises(RemoteError, match=words) as caught:
        fetch_repeating(site[1].url)
    assert len(proofs(site)) == times
    assert "5ecretsignature" not in str(caught.value)
    assert "/storage/" not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_client_without_repeats_fetches_once(site: Any) -> None:
    """`retries=0` holds for files, too."""
    site[0].bytes = failing_first(1, (503, b""))
    with pytest.raises(RemoteError):
        fetch_repeating(site[1].url, retries=0)
    assert len(proofs(site)) == 1


def test_a_run_that_ends_fetches_nothing_again(site: Any) -> None:
    """A lock that is lost meanwhile is a reason to stop."""
    site[0].bytes = failing_first(9, (503, b""))
    with pytest.raises(RemoteError):
        fetch_repeating(site[1].url, refusal=lambda: "lost" if proofs(site) else "")
    assert len(proofs(site)) == 1


def test_an_import_whose_download_breaks_once_is_proved(place: Any, site: Any) -> None:
    """The whole command, with the waits that a user has."""
    site[0].bytes = failing_first(1, (200, PACKAGE[:50], {**CUT}))
    ran = take(place)
    assert "were not read" not in ran.err
    assert recorded(place)["digest"].startswith("pkg1:sha256:")
    assert len(proofs(site)) == 2


def test_no_log_of_a_library_has_the_url(site: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Also with everything switched on, and when the connection fails."""
    caplog.set_level(logging.DEBUG)
    client = BackendClient(site[1].url, "a-token-of-tests")
    client.fetch_release_file(f"{site[1].url}/storage/x?{SIGNATURE}", io.BytesIO(), MOST)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(RemoteError) as caught:
        client.fetch_release_file(f"http://127.0.0.1:{port}/x?{SIGNATURE}", io.BytesIO(), MOST)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert "5ecretsignature" not in caplog.text + str(caught.value)
    client.close()
