"""Mirrors over HTTP and ssh: where a token goes and where not, and servers that do not behave."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from contract.controller.upstream import PROJECT, Upstream, list_names
from contract.stores.git.web import GitServer, serve_repositories

from synapse_apply.controller.ports import SourceUnavailable
from synapse_apply.controller.settings import HttpsToken, SecretName, Source, SshKey
from synapse_apply.controller.source import mirror_git
from synapse_apply.controller.source.mirror import GitMirror
from synapse_apply.controller.source.mirror_git import MirrorLimits
from synapse_apply.model.errors import InputError
from synapse_apply.model.values import Sensitive

TOKEN = "hunter2-and-some-more"
CREDENTIALS = HttpsToken(SecretName("env", "GIT_TOKEN"), user="x")


@pytest.fixture
def server(upstream: Upstream) -> Iterator[GitServer]:
    upstream.commit({"synapse-apply.yaml": PROJECT})
    with serve_repositories(upstream.path.parent) as server:
        yield server


def make_mirror(
    url: str, data: Path, token: str = TOKEN, limits: MirrorLimits | None = None
) -> GitMirror:
    source = Source("acme", url, credentials=CREDENTIALS)
    return GitMirror(source, data, lambda _: Sensitive(token), limits)


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Arguments and environment of each Git and ssh that is started, one after another."""
    notes = tmp_path / "notes"
    notes.write_text("")
    for name in ("git", "ssh"):
        shim = tmp_path / "programs" / name
        shim.parent.mkdir(exist_ok=True)
        rest = f'exec {shutil.which("git")} "$@"' if name == "git" else "exit 255"
        shim.write_text(f'#!/bin/sh\n{{ echo "ARGUMENTS {name} $@"; env; }} >>{notes}\n{rest}\n')
        shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{shim.parent}:{os.environ['PATH']}")
    return notes


def test_a_token_that_the_server_repeats_is_not_told(server, data):
    """Neither the token nor what is sent in its place: such words go to pages and messages."""
    server.repeats = True
    with pytest.raises(SourceUnavailable) as refused:
        make_mirror(f"{server.url}/upstream.git", data).fetch_head()
    (finding,) = refused.value.diagnostics
    assert "no access for" in finding.detail
    assert TOKEN not in f"{finding!r}"
    assert base64.b64encode(f"x:{TOKEN}".encode()).decode()[:12] not in f"{finding!r}"


def test_a_token_is_in_no_argument_and_on_no_disk(server, data, notes, monkeypatch):
    """And who fetches has nothing else of the controller's environment."""
    monkeypatch.setenv("SLACK_URL", "canary-of-the-controller")
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'core.pager=canary'")
    mirror = make_mirror(f"{server.url}/upstream.git", data)
    assert list_names(mirror, mirror.fetch_head().commit) == ("prod",)
    written = b"".join(file.read_bytes() for file in data.rglob("*") if file.is_file())
    text = notes.read_text()
    arguments = "\n".join(line for line in text.splitlines() if line.startswith("ARGUMENTS"))
    encoded = "eDpodW50ZXIy"
    assert encoded in text
    for secret in (TOKEN, encoded):
        assert secret not in arguments
        assert secret.encode() not in written
    assert "canary" not in text


def test_a_wrong_token_is_told_without_it(server, data):
    with pytest.raises(SourceUnavailable) as raised:
        make_mirror(f"{server.url}/upstream.git", data, "another-token-12345").fetch_head()
    (finding,) = raised.value.diagnostics
    assert "credentials" in finding.hint
    assert "another-token" not in f"{finding.detail}{finding.hint}"


def test_a_redirect_is_not_followed(server, data):
    """Whose server it leads to gets no request, and so no token."""
    asked: list[str] = []

    class Redirect(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{other.server_port}{self.path}")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Be silent."""

    class Note(Redirect):
        def do_GET(self) -> None:
            asked.append(str(self.headers))
            self.send_error(404)

    other, first = (HTTPServer(("127.0.0.1", 0), kind) for kind in (Note, Redirect))
    threads = [Thread(target=each.serve_forever, args=(0.02,)) for each in (other, first)]
    for thread in threads:
        thread.start()
    try:
        with pytest.raises(SourceUnavailable) as raised:
            make_mirror(f"http://127.0.0.1:{first.server_port}/upstream.git", data).fetch_head()
    finally:
        for each, thread in zip((other, first), threads, strict=True):
            each.shutdown()
            thread.join()
            each.server_close()
    assert "moved" in raised.value.diagnostics[0].hint
    assert asked == []


def test_a_server_that_says_nothing_is_left(data):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mirror = make_mirror(
            f"http://127.0.0.1:{silent.getsockname()[1]}/x.git",
            data,
            limits=MirrorLimits(list_seconds=0.3),
        )
        with pytest.raises(SourceUnavailable) as raised:
            mirror.fetch_head()
    assert "too long" in raised.value.diagnostics[0].detail


def test_a_server_that_lists_refs_without_end_takes_no_more_memory_than_a_limit(
    server, data, monkeypatch
):
    """Git keeps all of them before it prints one."""
    monkeypatch.setattr(mirror_git, "_MAX_MEMORY", 32 * 1024**2)
    server.listed_bytes = 512 * 1024**2
    with pytest.raises(SourceUnavailable) as raised:
        make_mirror(f"{server.url}/upstream.git", data).fetch_head()
    assert "Git says: fatal: Out of memory" in raised.value.diagnostics[0].detail
    assert 0 < server.sent_bytes < 64 * 1024**2


def test_all_who_ask_for_a_newer_head_ask_once_a_second(upstream, data, notes):
    """However many targets are about to be applied."""
    first = upstream.commit({"synapse-apply.yaml": PROJECT})
    mirror = GitMirror(Source("acme", str(upstream.path)), data, lambda _: Sensitive(TOKEN))
    mirror.fetch_head()
    notes.write_text("")
    began_at = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(mirror.find_newer_head, [first] * 100)) == {None}
    seconds = time.monotonic() - began_at
    assert notes.read_text().count(" ls-remote ") <= seconds + 1


def test_a_server_that_says_nothing_is_asked_once_and_then_left(data):
    """One apply waits for it, up to a limit; those after it do not."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.git"
        limits = MirrorLimits(list_before_apply_seconds=0.3)
        mirror = make_mirror(url, data, limits=limits)
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(mirror.find_newer_head, ["0" * 40] * 20)) == {None}
        silent.settimeout(0.5)
        connections = []
        while True:
            try:
                connections.append(silent.accept()[0])
            except TimeoutError:
                break
        for connection in connections:
            connection.close()
    assert len(connections) <= 1


def test_ssh_has_our_key_and_host_keys_alone(data, notes, tmp_path):
    """In files that nobody else can read, which are gone when it has ended."""
    credentials = SshKey(SecretName("env", "KEY"), SecretName("env", "HOSTS"))
    source = Source("acme", "git@git.example:acme/x.git", credentials=credentials)
    mirror = GitMirror(source, data, lambda name: Sensitive(f"canary of {name.name}"))
    (tmp_path / "programs" / "ssh").write_text(
        f'#!/bin/sh\necho "ARGUMENTS $@" >>{notes}\nls -l {data}/mirrors/acme.ssh >>{notes}\n'
        "echo Host key verification failed. >&2\nexit 255\n"
    )
    with pytest.raises(SourceUnavailable) as raised:
        mirror.fetch_head()
    assert "known_hosts" in raised.value.diagnostics[0].hint
    text = notes.read_text()
    assert text.count("-rw-------") == 2
    assert "StrictHostKeyChecking=yes" in text
    assert f"-F {os.devnull}" in text
    assert "canary" not in text
    assert not list(data.rglob("*.ssh"))


@pytest.mark.parametrize(
    "url",
    [
        "http://git.example/x.git",
        "https://user:password@git.example/x.git",
        "https://user@git.example/x.git",
        "ext::sh -c x",
        "git://git.example/x",
        "--upload-pack=x",
        "ssh://git@git.example/x.git",
        "file:///x.git",
        "https://git.example/x\n.git",
    ],
)
def test_odd_urls_are_refused(url, data):
    """Also those that go with other credentials than a token; what they quote is no password."""
    with pytest.raises(InputError) as raised:
        make_mirror(url, data)
    assert "password@" not in str(raised.value.diagnostics)
