"""A storage whose name leads elsewhere once it was looked at."""

from __future__ import annotations

import io
import socket
from typing import Any

import pytest
from attack.test_published_bytes import MOST, proofs, site

from synapse_apply import BackendClient, RemoteError
from synapse_apply.client.storage_files import ReachableNetworks

__all__ = ["site"]


def test_a_name_that_changes_its_address_reaches_nothing(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Public when it is looked up, loopback when it is connected to: closed before a byte is sent."""
    real = socket.getaddrinfo
    looked: list[str] = []

    def answer(host: Any, port: Any, *more: Any, **named: Any) -> Any:
        if host != "storage.example":
            return real(host, port, *more, **named)
        looked.append(host)
        at = "8.8.8.8" if len(looked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (at, port or 0))]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(
        ReachableNetworks,
        "resolve_public_and_backend_networks",
        classmethod(lambda cls, _base: cls(frozenset({"public"}), True)),
    )
    client = BackendClient(site[1].url, "a-token-of-tests")
    port = site[1].url.rpartition(":")[2]
    with pytest.raises(RemoteError, match="network where the backend is not"):
        client.fetch_release_file(f"http://storage.example:{port}/storage/x", io.BytesIO(), MOST)
    client.close()
    assert proofs(site) == []
