"""Where the files of releases may be fetched: near only if the backend is."""

from __future__ import annotations

import pytest

from synapse_apply.client.storage_files import (
    ReachableNetworks,
    classify_network_or_private_if_no_address,
)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("8.8.8.8", "public"),
        ("2606:4700::1111", "public"),
        ("127.0.0.1", "loopback"),
        ("127.9.9.9", "loopback"),
        ("0.0.0.0", "loopback"),
        ("::1", "loopback"),
        ("::", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),
        ("64:ff9b::a00:1", "private"),
        ("2002:0a00:0001::", "private"),
        ("64:ff9b:1::7f00:1", "loopback"),
        ("2a00::5efe:7f00:1", "loopback"),
        ("2a00::200:5efe:a00:1", "private"),
        ("fec0::1", "private"),
        ("::10.0.0.1", "private"),
        ("::127.0.0.1", "private"),
        ("::ffff:0:127.0.0.1", "private"),
        ("10.1.2.3", "private"),
        ("172.16.0.1", "private"),
        ("100.64.0.1", "private"),
        ("fd00::1", "private"),
        ("224.0.0.1", "private"),
        ("169.254.169.254", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("what", "private"),
    ],
)
def test_networks(address: str, network: str) -> None:
    """Also where one address stands inside another."""
    assert classify_network_or_private_if_no_address(address) == network


@pytest.mark.parametrize(
    ("base", "url", "may"),
    [
        ("https://8.8.8.8/", "https://8.8.4.4/x", True),
        ("https://8.8.8.8/", "http://8.8.4.4/x", False),
        ("https://8.8.8.8/", "https://127.0.0.1/x", False),
        ("https://8.8.8.8/", "https://localhost/x", False),
        ("https://8.8.8.8/", "https://10.0.0.1/x", False),
        ("https://8.8.8.8/", "https://2130706433/x", False),
        ("https://8.8.8.8/", "https://0x7f.1/x", False),
        ("http://10.0.0.5/", "http://10.0.0.6/x", True),
        ("https://10.0.0.5/", "https://10.0.0.6/x", True),
        ("https://10.0.0.5/", "http://10.0.0.6/x", False),
        ("https://10.0.0.5/", "https://127.0.0.1/x", False),
        ("https://10.0.0.5/", "https://169.254.169.254/x", False),
        ("http://127.0.0.1/", "http://127.0.0.1:1/x", True),
        ("http://127.0.0.1/", "http://10.0.0.6/x", False),
    ],
)
def test_what_is_near_is_fetched_only_where_the_backend_is(base: str, url: str, may: bool) -> None:
    """https is needed unless the backend is without it; odd spellings are what they resolve to."""
    assert (
        ReachableNetworks.resolve_public_and_backend_networks(
            base
        ).resolve_host_and_describe_url_fault_or_empty(url)
        == ""
    ) is may
