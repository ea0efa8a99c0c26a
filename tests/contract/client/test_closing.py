"""What is left of a client that was closed."""

from __future__ import annotations

import gc
from pathlib import Path
from urllib.parse import urlsplit

from contract.client.conftest import TOKEN

from synapse_apply import BackendClient, EmbeddedServer


def count_connections_to(port: int) -> int:
    """The connections of this machine that are open on the side of a client."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = "01"
    return sum(row[2].endswith(f":{port:04X}") and row[3] == established for row in rows)


def test_its_connections_are_closed_at_once(tmp_path: Path) -> None:
    """A program that opens many targets in turn must not wait for the garbage collector."""
    # A backend that no other test has connections to.
    with EmbeddedServer(tmp_path, token=TOKEN) as server:
        port = urlsplit(server.url).port or 0
        gc.disable()
        try:
            with BackendClient(server.url, api_token=TOKEN) as client:
                client.list_storages()
                assert count_connections_to(port) == 1
            assert count_connections_to(port) == 0
        finally:
            gc.enable()
