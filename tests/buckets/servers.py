"""Real servers for object stores, from packages that ship them.

`SeaweedServer()`, `MotoServer()` and `AzuriteServer()` listen on loopback, hold one bucket `states`
and end with the process that started them, however that ends.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from email.utils import formatdate
from pathlib import Path
from threading import Lock
from typing import ClassVar
from uuid import uuid4

from buckets.proxy import BucketProxy
from postgres.server import KEEPER

BUCKET = "states"
SECRET_KEY = "open-sesame-of-buckets"
# Where `make azure` has put the package of npm; empty in all other runs.
AZURITE = os.environ.get("SYNAPSE_APPLY_TEST_AZURITE", "")
# Where tests of states keep one of the sort "s3" or "azure": the fixture of the server.
BUCKET_SORT = "azure" if AZURITE else "s3"
BUCKET_STORE = "azurite" if AZURITE else os.environ.get("SYNAPSE_APPLY_TEST_BUCKET", "seaweed")


class BucketServer:
    """One server; `url(folder)` and `environ` say how a state in it is reached."""

    scheme = "s3"
    environ: ClassVar[dict[str, str]] = {
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": "us-east-1",
    }

    def __init__(self):
        """Made, not started."""
        self.folder = Path(tempfile.mkdtemp(prefix="bucket-"))
        self.port = 0
        self._keeper = None
        self._pid = 0

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def url(self, folder="", port=0):
        """Of a state in a folder, a new one where none is named; `port` is that of a proxy."""
        endpoint = self.endpoint.replace(f":{self.port}", f":{port or self.port}", 1)
        return f"{self.scheme}://{BUCKET}/{folder or uuid4().hex}?endpoint={endpoint}"

    def start(self):
        """Returns when it answers and the bucket is there."""
        for attempt in range(3):
            if self._try_start():
                return
            # Another process took one of the ports meanwhile.
            assert attempt < 2, (self.folder / "log").read_text()

    def remove(self):
        """Nothing of it stays."""
        if self._keeper is not None:
            # Not by the end of its input: a process that was forked meanwhile may hold that open.
            os.kill(self._pid, signal.SIGKILL)
            self._keeper.kill()
            self._keeper.communicate(timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, method, path, headers=(), body=b""):
        """The status of one request without a signature."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, dict(headers))
            return connection.getresponse().status
        finally:
            connection.close()

    def _try_start(self):
        command, self.port = self._command()
        with (self.folder / "log").open("wb") as log:
            self._keeper = subprocess.Popen(
                [sys.executable, "-c", KEEPER, "0", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, **self.environ},
            )
        self._pid = int(self._keeper.stdout.readline())
        until = time.monotonic() + 60
        while time.monotonic() < until and self._keeper.poll() is None:
            with suppress(OSError, http.client.HTTPException):
                if self._has_bucket():
                    return True
            time.sleep(0.02)
        self._keeper.communicate()
        return False

    def _command(self):
        raise NotImplementedError

    def _has_bucket(self):
        raise NotImplementedError


class SeaweedServer(BucketServer):
    """SeaweedFS: a store that people run, with a lock for each key."""

    def _command(self):
        """One process with all of it; nothing is reported to anybody."""
        names = ("master", "volume", "filer", "s3", "admin")
        ports = free_ports(2 * len(names))
        of_servers = [
            flag
            for name, http_port, grpc_port in zip(names, ports[::2], ports[1::2], strict=True)
            for flag in (f"-{name}.port={http_port}", f"-{name}.port.grpc={grpc_port}")
        ]
        command = [
            *(str(Path(sys.executable).parent / "weed"), "-logtostderr=true", "mini"),
            *(f"-dir={self.folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
            *("-master.telemetry=false", "-admin.ui=false", "-webdav=false", "-s3.iam=false"),
            *("-s3.port.iceberg=0", "-s3.port.lance=0", f"-bucket={BUCKET}"),
            f"-filer.localSocket={self.folder / 'filer.sock'}",
            f"-s3.localSocket={self.folder / 's3.sock'}",
            *of_servers,
        ]
        return command, ports[2 * names.index("s3")]

    def _has_bucket(self):
        """It makes the bucket after it has begun to answer."""
        self.ask("GET", "/")  # to make a client takes longer than to see that nobody listens yet
        from obstore.exceptions import BaseError
        from obstore.store import S3Store

        store = S3Store(
            BUCKET,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=self.environ["AWS_ACCESS_KEY_ID"],
            secret_access_key=SECRET_KEY,
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )
        with suppress(BaseError):
            store.list().collect()
            return True
        return False


class MotoServer(BucketServer):
    """moto: what others know of Amazon's answers, in memory.

    It looks whether there is an object and makes it afterwards, so that of sixteen requests at once
    two get through now and then. So it gets one at a time, from a proxy.
    """

    _proxy = None

    def start(self):
        super().start()
        self._proxy = BucketProxy(self.port, turn=Lock())
        self.port = self._proxy.port

    def remove(self):
        if self._proxy is not None:
            self._proxy.close()
        super().remove()

    def _command(self):
        (port,) = free_ports(1)
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port

    def _has_bucket(self):
        return self.ask("PUT", f"/{BUCKET}") == 200


class AzuriteServer(BucketServer):
    """Azurite: Microsoft's own emulator of Azure's blobs, in memory."""

    scheme = "az"
    account = "devstoreaccount1"
    # Of the emulator, the same for everybody.
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    environ: ClassVar[dict[str, str]] = {
        "AZURE_STORAGE_ACCOUNT_NAME": account,
        "AZURE_STORAGE_ACCOUNT_KEY": key,
    }

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}/{self.account}"

    def _command(self):
        (port,) = free_ports(1)
        command = [
            *("node", f"{AZURITE}/node_modules/azurite/dist/src/blob/main.js"),
            *("--blobHost", "127.0.0.1", "--blobPort", str(port)),
            *("--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck"),
        ]
        return command, port

    def _has_bucket(self):
        """Create the container: a request with a signature (Azure, "Authorize with Shared Key")."""
        date, version = formatdate(usegmt=True), "2021-08-06"
        path = f"/{self.account}/{BUCKET}"
        text = "\n".join(
            [
                *("PUT", *[""] * 11, f"x-ms-date:{date}", f"x-ms-version:{version}"),
                *(f"/{self.account}{path}", "restype:container"),
            ]
        )
        digest = hmac.new(base64.b64decode(self.key), text.encode(), hashlib.sha256).digest()
        signature = base64.b64encode(digest).decode()
        headers = {
            "x-ms-date": date,
            "x-ms-version": version,
            "Authorization": f"SharedKey {self.account}:{signature}",
            "Content-Length": "0",
        }
        return self.ask("PUT", f"{path}?restype=container", headers) in (201, 409)


def free_ports(count):
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
