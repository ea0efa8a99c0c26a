"""Base URLs, credentials, the environment, and the life of a client."""

from __future__ import annotations

import pytest
from unit.client.scripted import ScriptedServer, answer

from synapse_apply import BackendClient, ClientError, SynapseApplyError


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.synapse.sh",
        "ftp://h",
        "http://",
        "http://h:99999",
        "http://u:p@h",
        "http://h?a=1",
        "http://h#a",
        "http://h/../x",
        "http://h/x/%2e%2E",
        "http://h/%2e/x",
        "http://h/x%2f..",
        "http://h/a b",
        "http://[x",
        "http://é",
        "http://localhos%74",
        "http://127.0.0.%31:1",
        "http://%6cocalhost",
        "http://prod\\x",
        "http://h..",
        "http://.h",
        "http://*",
        "http://h;x",
        f"http://{'h' * 64}",
        f"http://{'h.' * 127}h",
        "http://[fe80::1%25lo]",
        "http://[fe80::1%lo]",
        "http://[1::2::3]",
        "http://[127.0.0.1]",
    ],
)
def test_urls_that_cannot_be_used(url):
    """Refused at once; a password in the URL is not quoted."""
    with pytest.raises(SynapseApplyError) as caught:
        BackendClient(url)
    assert caught.value.diagnostics[0].hint
    assert "u:p" not in repr(caught.value.diagnostics)


@pytest.mark.parametrize("token", ["a b", "a\nb", "tök", "a\x00b"])
def test_tokens_that_cannot_be_sent(token):
    """Refused without being quoted."""
    with pytest.raises(SynapseApplyError) as caught:
        BackendClient("http://h", token)
    assert token not in repr(caught.value.diagnostics)


def test_two_names_of_one_token():
    """The same under both is fine, two different ones are not."""
    BackendClient("http://h", "a", access_token="a").close()
    with pytest.raises(SynapseApplyError, match="Two different tokens"):
        BackendClient("http://h", "a", access_token="b")


def test_repr_and_context(server):
    """The repr names the backend alone; a closed client says that it is closed."""
    with BackendClient(server.url, "tok-1") as client:
        assert repr(client) == f"BackendClient('{server.url}/')"
        client.get_plugin(1)
    with pytest.raises(ClientError, match="closed"):
        client.get_plugin(1)


def test_loopback_needs_no_proxy(server, connect, monkeypatch):
    """The embedded backend is reached directly, whatever the environment says."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    connect(server).get_plugin(1)
    assert len(server.received) == 1


def test_other_hosts_go_through_the_proxy_of_the_environment(server, connect, monkeypatch):
    """Read once, when the client is made."""
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("http_proxy", server.url)
    client = connect("http://backend.example/x")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    client.get_plugin(1)
    assert server.received[0].target == "http://backend.example/x/plugins/1/"


def test_a_proxy_that_refuses_a_tunnel_got_no_request(server, connect, monkeypatch):
    """The CONNECT is not the request, so a write has no effect."""
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, server.url)
    server.route = lambda _request: answer(407, {}, close=True)
    with pytest.raises(ClientError, match=r"the proxy failed\. The call did not reach the server"):
        connect("https://backend.example").create_plugin({})
    assert {r.method for r in server.received} == {"CONNECT"}


def test_plain_http_where_tls_is_expected(server, connect):
    """A handshake that fails sent nothing."""
    with pytest.raises(ClientError, match="did not reach the server"):
        connect(server.url.replace("http:", "https:"), read_timeout=0.3, retries=0).create_plugin(
            {}
        )


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_ca_bundle_that_is_not_there(monkeypatch, name):
    """Said at once and by name, not at the first call."""
    for other_name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(other_name, raising=False)
    monkeypatch.setenv(name, "/no/such/bundle.pem")
    with pytest.raises(SynapseApplyError, match="CA bundle"):
        BackendClient("https://h")


def test_netrc_is_not_read(server, connect, monkeypatch, tmp_path):
    """Credentials come from the arguments alone."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login u password p\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    connect(server).get_plugin(1)
    assert "authorization" not in server.received[0].headers


def test_two_clients_keep_their_own_tokens(connect):
    """Each backend sees its own."""
    servers = ScriptedServer(), ScriptedServer()
    for number, server in enumerate(servers):
        connect(server, f"t{number}").get_plugin(1)
        server.stop()
    assert [s.received[0].headers["synapse-access-token"] for s in servers] == [
        "Token t0",
        "Token t1",
    ]
