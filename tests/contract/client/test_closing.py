"""What is left of a client that was closed."""

from __future__ import annotations

import gc
from pathlib import Path
from urllib.parse import urlsplit

from contract.client.conftest import TOKEN

from synapse_apply.client import BackendClient


def count_connections_to(port: int) -> int:
    """The connections of this machine that are open on the side of a client."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = "01"
    return sum(row[2].endswith(f":{port:04X}") and row[3] == established for row in rows)


def test_its_connections_are_closed_at_once(backend_url: str) -> None:
    """A program that opens many targets in turn must not wait for the garbage collector."""
    port = urlsplit(backend_url).port or 0
    before = count_connections_to(port)
    gc.disable()
    try:
        with BackendClient(backend_url, api_token=TOKEN) as client:
            client.list_storages()
            assert count_connections_to(port) == before + 1
        assert count_connections_to(port) == before
    finally:
        gc.enable()
