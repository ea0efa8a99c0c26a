"""Where the password of a state's database may go, whatever url a commit has written."""

from __future__ import annotations

import base64
import json
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest
from attack.two_targets import Checkout
from postgres.server import PASSWORD, PostgresServer

CANARY = "canary-of-pgpassword"
CLEARTEXT, MD5 = struct.pack("!I", 3), struct.pack("!I", 5) + b"salt"


class Listener:
    """Stands in for a database: asks each client for the password, and keeps all it hears."""

    def __init__(self, asks: bytes) -> None:
        self.asks, self.heard, self.clients = asks, b"", 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                self.clients += 1
                with client, suppress(OSError, struct.error):
                    self._talk(client)

    def _talk(self, client: socket.socket) -> None:
        while True:
            (length,) = struct.unpack("!I", client.recv(4, socket.MSG_WAITALL))
            start = client.recv(length - 4, socket.MSG_WAITALL)
            if length != 8:
                break
            client.sendall(b"N")  # neither TLS nor GSS
        self.heard += start
        client.sendall(b"R" + struct.pack("!I", 4 + len(self.asks)) + self.asks)
        self.heard += client.recv(4096)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()


@pytest.fixture(params=[CLEARTEXT, MD5], ids=["cleartext", "md5"])
def listener(request: pytest.FixtureRequest) -> Iterator[Listener]:
    listening = Listener(request.param)
    yield listening
    listening.close()


def make_site(root: Path, url: object, **environ: str) -> Checkout:
    target = {"url": "https://api.example", "token": {"env": "TOKEN"}, "state": {"url": url}}
    project = {"apiVersion": "synapse-apply/v1", "kind": "Project", "targets": {"prod": target}}
    (root / "synapse-apply.yaml").write_text(json.dumps(project), encoding="utf-8")
    (root / "manifests").mkdir(exist_ok=True)
    return Checkout(root, {"TOKEN": "any", "PGPASSWORD": CANARY, **environ})


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://state@127.0.0.1:PORT/db",
        "postgresql://state@api.example:PORT/db?hostaddr=127.0.0.1",
        "postgresql://state@api.example:1,127.0.0.1:PORT/db",
        "postgresql://state@api.example/db?host=127.0.0.1&port=PORT",
        "postgresql://state@api.example%2C127.0.0.1:PORT/db",
        "postgres://state@LOCALHOST:PORT/db",
        "postgresql://state@2130706433:PORT/db",
        "postgresql://state@[::ffff:127.0.0.1]:PORT/db",
    ],
)
def test_a_host_that_is_not_listed_is_not_asked(
    tmp_path: Path, listener: Listener, url: str
) -> None:
    """By whatever part of the url it is named: nobody connects to it, and the error names it."""
    site = make_site(tmp_path, url.replace("PORT", str(listener.port)))
    said = site.run("state show", 1, SYNAPSE_APPLY_HOSTS="api.example,api.example:1")
    assert "The password of the state's database may not go to this host" in said
    assert "SYNAPSE_APPLY_HOSTS" in said
    assert (listener.clients, listener.heard) == (0, b"")
    assert CANARY not in said


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///db?host=/tmp/PORT",
        "postgresql://%40evil/db",
        "postgresql://h/db?service=x",
        "postgresql://h%2F..%2Fx/db",
        "postgresql:///db?host=h:1%40evil",
        "postgresql:///db?host=h%23x",
        "postgresql:///db?hostaddr=1:2",
    ],
)
def test_a_host_that_cannot_be_compared_is_refused(tmp_path: Path, url: str) -> None:
    """A socket, a service of a file, and what a reader of urls would take for the host `h`."""
    said = make_site(tmp_path, url).run("state show", 1, SYNAPSE_APPLY_HOSTS="h")
    assert "The state's database host is not set" in said


@pytest.mark.parametrize(
    ("parameter", "named"),
    [
        ("sslkeylogfile={}/made", "sslkeylogfile="),
        ("ssl%6Beylogfile={}/made", "sslkeylogfile="),
        ("passfile={}/made", "passfile="),
        ("sslcert={}/c.pem&sslkey={}/evil.so:key", "an engine in sslkey="),
        ("sslkey=dynamic%3Akey", "an engine in sslkey="),
        ("gsslib=gssapi", "gsslib="),
        ("oauth_issuer=https://evil.example&oauth_client_id=x", "oauth_issuer=, oauth_client_id="),
    ],
)
def test_a_commit_sets_no_parameter_that_writes_files_or_loads_code(
    tmp_path: Path, listener: Listener, parameter: str, named: str
) -> None:
    """Wherever the url leads: nobody connects, nothing is made, and the error names what it is."""
    query = parameter.replace("{}", str(tmp_path))
    url = f"postgresql://state@127.0.0.1:{listener.port}/db?sslmode=require&{query}"
    said = make_site(tmp_path, url).run("plan", 1)
    assert "has a parameter that a project file may not set" in said
    assert f"{named}. Such a parameter" in said
    assert listener.clients == 0
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "query", ["", "?require_auth=password,md5", "?require_auth=!none", "?sslmode=disable"]
)
def test_a_listed_host_gets_no_password_in_plain_text(
    tmp_path: Path, listener: Listener, query: str
) -> None:
    """Nor the MD5 of it, whatever the url says; the error says what the server asked for."""
    site = make_site(tmp_path, f"postgresql://state@127.0.0.1:{listener.port}/db{query}")
    said = site.run("state show", 1, SYNAPSE_APPLY_HOSTS="127.0.0.1")
    assert listener.clients >= 1
    assert b"state" in listener.heard
    assert CANARY.encode() not in listener.heard
    assert b"md5" not in listener.heard
    assert "in plain text or as MD5" in said
    assert "scram-sha-256" in said


def test_a_url_of_the_operator_is_their_own(tmp_path: Path, listener: Listener) -> None:
    """One of a variable, where no hosts are listed: host and login are what it says."""
    url = f"postgresql://state@127.0.0.1:{listener.port}/db"
    site = make_site(tmp_path, {"env": "STATE_URL"}, STATE_URL=url)
    site.run("state show", 1)
    assert listener.clients >= 1
    assert (CANARY.encode() in listener.heard) is (listener.asks is CLEARTEXT)


@pytest.mark.parametrize("variable", ["STATE_URL", "FORGE_X_TEXT_OF_A_COMMIT"])
@pytest.mark.parametrize("where", ["127.0.0.1:PORT/db", "/db?host=/tmp/PORT", "h/db?service=x"])
def test_a_variable_names_no_host_that_is_not_listed(
    tmp_path: Path, listener: Listener, variable: str, where: str
) -> None:
    """A commit chooses the variable, and some forge sets it to a text of the commit's author."""
    url = f"postgresql://{where.replace('PORT', str(listener.port))}"
    site = make_site(tmp_path, {"env": variable}, **{variable: url})
    said = site.run("state show", 1, SYNAPSE_APPLY_HOSTS="api.example,h")
    assert "The password of the state's database may not go to this host" in said or (
        "The state's database host is not set" in said
    )
    assert (listener.clients, listener.heard) == (0, b"")


def test_a_login_that_the_operator_asks_for_is_their_own(
    tmp_path: Path, listener: Listener
) -> None:
    """PGREQUIREAUTH of the machine counts, and no weaker one of the url."""
    url = f"postgresql://state@127.0.0.1:{listener.port}/db?require_auth=password,md5"
    hosts = {"SYNAPSE_APPLY_HOSTS": "127.0.0.1"}
    make_site(tmp_path, url, PGREQUIREAUTH="scram-sha-256").run("state show", 1, **hosts)
    assert CANARY.encode() not in listener.heard
    assert b"md5" not in listener.heard
    make_site(tmp_path, url, PGREQUIREAUTH="password,md5").run("state show", 1, **hosts)
    assert (CANARY.encode() if listener.asks is CLEARTEXT else b"md5") in listener.heard


def test_a_database_that_is_listed_is_used(tmp_path: Path, postgres: PostgresServer) -> None:
    """With a login that shows no password to anybody: a state is made and read."""
    url = f"postgresql://postgres@127.0.0.1:{postgres.port}/postgres?schema=listed"
    key = base64.b64encode(bytes(32)).decode()
    site = make_site(tmp_path, url, PGPASSWORD=PASSWORD, SYNAPSE_APPLY_STATE_KEY=key)
    hosts = f"127.0.0.1:{postgres.port},api.example"
    site.run("state init", SYNAPSE_APPLY_HOSTS=hosts)
    site.run("state show", SYNAPSE_APPLY_HOSTS=hosts)
