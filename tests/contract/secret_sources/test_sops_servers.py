"""A file of sops names servers: only those that the target lists are asked, with what it gives."""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import sops
from contract.secret_sources.conftest import CANARY, PLAIN, Place

SECRET = "raw-data/secret_access_key"


class Vault:
    """The transit engine, without any secrecy: what was asked, and with which token."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.refusal = "permission denied"
        vault = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                vault.asked.append((self.path, self.headers.get("X-Vault-Token", "")))
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.headers.get("X-Vault-Token") != "vault-token":
                    answer: Any = {"errors": [vault.refusal]}
                    self.send_response(403)
                else:
                    text = body.get("plaintext") or body["ciphertext"].removeprefix("vault:v1:")
                    name = "ciphertext" if "plaintext" in body else "plaintext"
                    prefix = "vault:v1:" if name == "ciphertext" else ""
                    answer = {"data": {name: prefix + text}}
                    assert base64.b64decode(text)
                    self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            do_POST = do_PUT  # noqa: N815 - as the library names it

            def log_message(self, *_: Any) -> None:
                """Nothing is printed."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.key = f"{self.url}/v1/sops/keys/first"


@contextmanager
def running(context: ssl.SSLContext | None = None) -> Iterator[Vault]:
    """One that listens; with a context by https."""
    vault = Vault()
    if context is not None:
        listener = vault.server.socket
        vault.server.socket = context.wrap_socket(listener, server_side=True)
    thread = Thread(target=vault.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield vault
    finally:
        vault.server.shutdown()
        thread.join()
        vault.server.server_close()


@pytest.fixture
def vault(place: Place) -> Iterator[Vault]:
    """A file that a server's key opens, and an age key."""
    with running() as started:
        options = ("--hc-vault-transit", started.key)
        given = {"VAULT_TOKEN": "vault-token"}
        types = ("--input-type", "yaml", "--output-type", "yaml", "--age", sops.OTHER_RECIPIENT)
        place.file.write_text(
            sops.run_sops("encrypt", *types, *options, "/dev/stdin", text=PLAIN, environ=given)
        )
        started.asked.clear()
        place.environ["SOPS_VAULT"] = "vault-token"
        yield started


def with_token(*keys: str) -> dict[str, Any]:
    token = {"token": {"env": "SOPS_VAULT"}}
    return {"sops": {"age": {"env": "AGE_KEY"}, "hc_vault": {"keys": list(keys), **token}}}


def test_a_key_at_a_listed_server(place: Place, vault: Vault) -> None:
    """With the token that the project file names for it, not with one of the environment."""
    place.environ.pop("AGE_KEY")
    place.settings = with_token(vault.key)
    assert place.value(SECRET) == CANARY
    assert vault.asked == [("/v1/sops/decrypt/first", "vault-token")]


def test_a_server_that_is_not_listed_is_not_asked(place: Place, vault: Vault) -> None:
    """An error before sops starts, also where another key would do, and one of `validate`."""
    place.environ["AGE_KEY"] = sops.OTHER_KEY
    for settings in (
        {"sops": {"age": {"env": "AGE_KEY"}}},
        with_token(vault.key + "x"),
        with_token(vault.key.replace("127.0.0.1", "localhost")),
        with_token(f"{vault.url}/v1/sops"),
    ):
        place.settings = settings
        said = place.failure()
        assert "Secret not allowed: secrets/prod.yaml names keys that the target does not" in said
        assert f"hc_vault {vault.key}. " in said
        assert place.denial() == said
    assert vault.asked == []


def test_a_listed_server_without_a_credential_is_not_asked(place: Place, vault: Vault) -> None:
    """A pipeline has its age key, a developer a login: each lists both, and uses its own."""
    place.environ["AGE_KEY"] = sops.OTHER_KEY
    place.settings = {"sops": {"age": {"env": "AGE_KEY"}, "hc_vault": {"keys": [vault.key]}}}
    assert place.value(SECRET) == CANARY
    place.environ["AGE_KEY"] = sops.KEY
    assert "AGE_KEY does not match any of its age keys" in place.failure()
    del place.environ["AGE_KEY"]
    assert "AGE_KEY is not set" in place.failure()
    place.settings = {
        "sops": {"age": {"env": "A"}, "hc_vault": with_token(vault.key)["sops"]["hc_vault"]}
    }
    del place.environ["SOPS_VAULT"]
    assert "A, SOPS_VAULT are not set" in place.failure()
    assert vault.asked == []


def test_a_server_that_refuses(place: Place, vault: Vault) -> None:
    """What it says is told, the token is not."""
    place.environ |= {"SOPS_VAULT": "cAn4ry-token", "AGE_KEY": ""}
    place.settings = with_token(vault.key)
    said = place.failure()
    assert "no key opens secrets/prod.yaml: sops says: " in said
    assert "permission denied" in said


@pytest.mark.parametrize(
    "spell",
    [
        str,
        lambda token: token[:12],
        lambda token: f"{token[:9]} {token[9:]}",
        lambda token: token.encode().hex(),
        lambda token: base64.b64encode(token.encode()).decode(),
        lambda token: base64.b64encode(b"x" + token.encode()).decode(),
        lambda token: "".join(f"%{byte:02x}" for byte in token.encode()),
    ],
)
def test_a_server_that_repeats_the_token(place: Place, vault: Vault, spell: Any) -> None:
    """In whatever spelling: then none of its words are told."""
    token = "cAn4ry-token-0123456789"
    place.environ |= {"SOPS_VAULT": token, "AGE_KEY": ""}
    place.settings = with_token(vault.key)
    vault.refusal = f"no entry for {spell(token)}"
    said = place.failure()
    assert "sops could not use SOPS_VAULT" in said
    assert spell(token) not in said


def test_a_server_behind_a_proxy(place: Place) -> None:
    """It is asked through the proxy of the environment, whose password nobody is shown."""
    with running() as proxy:
        host = proxy.url.removeprefix("http://")
        key = "http://vault.example.test/v1/sops/keys/first"
        ways = {"VAULT_TOKEN": "vault-token", "HTTP_PROXY": f"http://user:pr0xy-pass@{host}"}
        types = ("--input-type", "yaml", "--output-type", "yaml", "--hc-vault-transit", key)
        place.file.write_text(
            sops.run_sops("encrypt", *types, "/dev/stdin", text=PLAIN, environ=ways)
        )
        proxy.asked.clear()
        place.environ |= {"SOPS_VAULT": "vault-token", "HTTP_PROXY": ways["HTTP_PROXY"]}
        place.settings = with_token(key)
        assert place.value(SECRET) == CANARY
        asked = "http://vault.example.test/v1/sops/decrypt/first"
        assert proxy.asked == [(asked, "vault-token")]
    said = place.failure()
    assert "Check HTTPS_PROXY" in said
    assert "pr0xy-pass" not in said
    # Who lists an age key alone asks no server, and has no need of a proxy.
    place.settings = {"sops": {"age": {"env": "AGE_KEY"}}}
    place.file.write_text(sops.encrypt(PLAIN))
    assert place.value(SECRET) == CANARY


def test_a_server_of_an_authority_of_ones_own(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of its certificate is named as for other programs, also relative to the folder."""
    authority, key_file = tmp_path / "authority.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", key_file, "-out", authority, "-days", "2", "-subj", "/CN=ours",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, key_file)
    with running(context) as vault:
        key = vault.key.replace("http:", "https:")
        ways = {"VAULT_TOKEN": "vault-token", "SSL_CERT_FILE": str(authority)}
        types = ("--input-type", "yaml", "--output-type", "yaml", "--hc-vault-transit", key)
        place.file.write_text(
            sops.run_sops("encrypt", *types, "/dev/stdin", text=PLAIN, environ=ways)
        )
        place.environ["SOPS_VAULT"] = "vault-token"
        place.settings = with_token(key)
        assert "set SSL_CERT_FILE to the authority's file" in place.failure()
        monkeypatch.chdir(tmp_path)
        for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
            place.environ[variable] = "authority.pem"
            assert place.value(SECRET) == CANARY
            del place.environ[variable]


def test_a_server_that_answers_without_end_fills_no_memory(place: Place, vault: Vault) -> None:
    """sops keeps a server's answer several times; 600 MiB are as good as no end."""
    place.environ.pop("AGE_KEY")
    place.settings = with_token(vault.key)

    class Endless(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                for _ in range(600):
                    self.wfile.write(b" " * 1024**2)

        def log_message(self, *_: Any) -> None:
            """Nothing is printed."""

    vault.server.RequestHandlerClass = Endless
    said = place.failure()
    assert "sops needs more than 512 MiB of memory for secrets/prod.yaml" in said
    assert "Check the servers of its keys" in said
