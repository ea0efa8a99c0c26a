"""Which texts are the login of a proxy, and which hosts no proxy is asked for."""

from __future__ import annotations

import base64

import pytest

from synapse_apply.model.secrets.proxies import needs_no_proxy, proxy_logins


def encode(text: str, encoding: str = "utf-8") -> str:
    return base64.b64encode(text.encode(encoding)).decode()


@pytest.mark.parametrize(
    ("url", "texts"),
    [
        ("http://svc:password@proxy:80", {"password", encode("svc:password")}),
        ("svc:password@proxy", {"password", encode("svc:password")}),
        ("http://svc:a/b@c@proxy/x", {"a/b@c", "svc:a/b@c", encode("svc:a/b@c")}),
        ("http://key-of-acme:@proxy", {"key-of-acme", encode("key-of-acme:")}),
        ("http://proxy:80", set()),
        ("http://:@proxy", set()),
        ("", set()),
    ],
)
def test_a_login_in_each_spelling(url: str, texts: set[str]) -> None:
    assert texts <= set(proxy_logins({"Https_Proxy": url}))
    assert bool(texts) is bool(set(proxy_logins({"all_proxy": url})))
    assert not set(proxy_logins({"PROXY": url, "HTTPS_PROXY_OF": url}))


def test_a_login_is_masked_as_it_is_written_and_as_it_is_meant() -> None:
    """requests sends the login in latin-1, and curl in UTF-8."""
    texts = set(proxy_logins({"http_proxy": "http://a:p%C3%BCssword@proxy"}))
    assert {"p%C3%BCssword", "püssword", encode("a:püssword")} <= texts
    assert encode("a:püssword", "latin-1") in texts


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
