"""Which hosts no proxy is asked for."""

from __future__ import annotations

import pytest

from synapse_apply.model.secrets.proxies import needs_no_proxy


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost.", "x.localhost", "127.1", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]",
     "0.0.0.0", "0", "[::]"],
)  # fmt: skip
def test_this_machine_needs_no_proxy(host: str) -> None:
    assert needs_no_proxy(f"http://{host}:8080/x")


@pytest.mark.parametrize(
    "url",
    ["http://128.0.0.1", "https://localhost.example", "https://api.example", "git@localhost:x",
     "/srv/git", "http://[::", "https://[fe80::1%25eth0]", ""],
)  # fmt: skip
def test_any_other_host_may_need_one(url: str) -> None:
    assert not needs_no_proxy(url)
