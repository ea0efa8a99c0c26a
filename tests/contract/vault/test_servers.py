"""What a Vault that does not serve says, what is no Vault, and that each is asked but once a run."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from listening import Server
from vault import jwts
from vault.stand_in import StandInVault, reply

from synapse_apply.client.http.exchange import ExchangeLimits
from synapse_apply.client.http.pacing import Backoff
from synapse_apply.model.errors import SecretUnavailable

TLS = Path(__file__).parents[2] / "unit" / "client" / "tls"
JSON = {"Content-Type": "application/json"}
ONCE = ExchangeLimits(backoff=Backoff(max_repeats=0))
QUICK = ExchangeLimits(
    connect_timeout=0.4, read_timeout=0.4, total_timeout=0.6, backoff=Backoff(max_repeats=0)
)


@pytest.fixture
def vault():
    with StandInVault() as made:
        made.put("kv/raw-data", {"secret": "value", "user": "reader"})
        yield made


def refuse(reader, path="kv/raw-data", key="secret", version=None):
    """The one finding of a read that gives no value."""
    with pytest.raises(SecretUnavailable) as caught:
        reader.require_value_of_key(path, key, version)
    (finding,) = caught.value.diagnostics
    assert finding.hint
    return finding


def test_sealed(vault, open_reader):
    """Who can unseal it is named, and it is not asked again in this run."""
    vault.sealed = True
    reader = open_reader(vault.url, vault.make_token("*"))
    for path in ("kv/raw-data", "kv/other"):
        finding = refuse(reader, path)
        assert finding.summary == "Vault is sealed"
        assert finding.detail == f"the Vault at {vault.url} is sealed"
        assert "vault operator unseal" in finding.hint
    assert len(vault.requests) == 1


STATUSES = [
    (472, "This Vault is a standby", "secondary for disaster recovery"),
    (473, "This Vault is a standby", "a standby that does not serve"),
    (500, "Vault failed", "reported an internal error"),
    (501, "Vault is not initialised", "is not initialised"),
    (503, "Vault cannot be reached", "answered 503"),
    (405, "Vault refuses the request", "answered 405"),
]


@pytest.mark.parametrize(
    ("status", "summary", "detail"), STATUSES, ids=[str(one[0]) for one in STATUSES]
)
def test_statuses_of_a_node(vault, open_reader, status, summary, detail):
    """Each is told by what it means for who reads it."""
    vault.override = lambda _request: (status, b'{"errors": []}', JSON)
    finding = refuse(open_reader(vault.url, "hvs.token", limits=ONCE))
    assert finding.summary == summary
    assert detail in finding.detail


def test_a_standby_without_an_active_node(vault, open_reader):
    """Vault says it by a 500."""
    words = b'{"errors": ["local node not active but active cluster node not found"]}'
    vault.override = lambda _request: (500, words, JSON)
    assert refuse(open_reader(vault.url, "hvs.token")).summary == "This Vault is a standby"


@pytest.mark.parametrize("status", [412, 429])
def test_what_passes_is_asked_again(vault, open_reader, status):
    """A node that is behind, or that limits requests: twice, then the run says so."""
    answers = [(status, b'{"errors": []}', JSON)] * 2
    vault.override = lambda _request: answers.pop() if answers else None
    reader = open_reader(vault.url, vault.make_token("*"))
    assert reader.require_value_of_key("kv/raw-data", "secret").reveal() == "value"
    assert len(vault.requests) == 3
    vault.override = lambda _request: (status, b'{"errors": []}', JSON)
    summaries = {412: "Vault is not up to date yet", 429: "Vault accepts no more requests"}
    assert refuse(reader, "kv/other").summary == summaries[status]
    assert len(vault.requests) == 6


def test_a_redirect_to_the_same_server_is_followed(vault, open_reader):
    """With method, body and token; not a third time."""
    moved = {"Location": f"{vault.url}/v1/kv/data/raw-data?version=1"}
    vault.override = lambda one: (307, b"", moved) if "?" not in one.path else None
    reader = open_reader(vault.url, vault.make_token("*"))
    assert reader.require_value_of_key("kv/raw-data", "secret").reveal() == "value"
    vault.override = lambda _request: (307, b"", moved)
    assert refuse(reader, "kv/other").summary == "This Vault is a standby"
    assert len(vault.requests) == 5


@pytest.mark.parametrize("method", ["token", "jwt"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_server_gets_no_credential(vault, open_reader, method, status):
    """It is not even asked: another port is another server."""
    with StandInVault() as other:
        moved = {"Location": f"{other.url}/v1/kv/data/raw-data"}
        vault.override = lambda _request: (status, b"", moved)
        credential = {method: "hvs.token" if method == "token" else jwts.sign()}
        finding = refuse(open_reader(vault.url, **credential))
        assert finding.summary == "This Vault is a standby"
        assert "the tool sends a token only to vault.address" in finding.detail
        assert other.url not in finding.detail
        assert other.requests == []


@pytest.mark.parametrize(
    "location",
    ["", "//else.example/v1/x", "https://[", "/ui/", "http://user@127.0.0.1/v1/x"],
)
def test_odd_redirects(vault, open_reader, location):
    """None is followed, and none ends in a traceback."""
    moved = {"Location": location} if location else {}
    vault.override = lambda _request: (307, b"", moved)
    assert refuse(open_reader(vault.url, "hvs.token")).summary == "This Vault is a standby"
    assert len(vault.requests) == 1


def test_a_slow_vault(vault, open_reader):
    """The total time holds; who waits for the first secret does not wait for the second."""
    vault.slow = 1.0
    reader = open_reader(vault.url, vault.make_token("*"), limits=QUICK)
    assert refuse(reader).summary == "Vault does not answer in time"
    assert refuse(reader, "kv/other").summary == "Vault does not answer in time"
    assert len(vault.requests) <= 1


def test_a_body_that_drips(vault, open_reader):
    """A byte now and then does not hold a run for ever: each is in time, and the whole is not."""
    vault.drip_seconds = 0.1
    reader = open_reader(vault.url, vault.make_token("*"), limits=QUICK)
    assert refuse(reader).summary == "Vault does not answer in time"


def test_nobody_listens(open_reader):
    """The address is named, and what to check."""
    with Server(("127.0.0.1", 0), object) as server:
        url = f"http://127.0.0.1:{server.server_port}"
    finding = refuse(open_reader(url, "hvs.token"))
    assert finding.summary == "Vault cannot be reached"
    assert f"Vault at {url} cannot be reached: connection refused" in finding.detail


def test_tls(open_reader):
    """A certificate of an own authority is trusted by `ca_file` alone."""
    with StandInVault(tls=(str(TLS / "cert.pem"), str(TLS / "key.pem"))) as vault:
        vault.put("kv/raw-data", {"secret": "value"})
        token = vault.make_token("*")
        finding = refuse(open_reader(vault.url, token))
        assert finding.summary == "The connection to Vault is not trusted"
        assert "certificate is not trusted" in finding.detail
        assert "vault.ca_file" in finding.hint
        assert vault.requests == []
        trusting = open_reader(vault.url, token, ca_file=str(TLS / "cert.pem"))
        assert trusting.require_value_of_key("kv/raw-data", "secret").reveal() == "value"
        plain = refuse(open_reader(vault.url.replace("https", "http"), token, limits=QUICK))
        assert plain.summary in {"Vault cannot be reached", "Vault's answer is incomplete"}


HTML = {"Content-Type": "text/html; charset=utf-8"}
FOREIGN = {
    "login page": (200, b"<html>Sign in</html>", HTML, "This is not a Vault server"),
    "web server": (404, b"<html>Not Found</html>", HTML, "This is not a Vault server"),
    "other API": (200, b'{"data": {"data": {"secret": "x"}}}', JSON, "This is not a Vault server"),
    "other error": (404, b'{"detail": "Not found."}', JSON, "This is not a Vault server"),
    "wrong type": (
        200,
        json.dumps(reply({"data": {"secret": "x"}, "metadata": {"version": 1}})).encode(),
        {"Content-Type": "text/plain"},
        "This is not a Vault server",
    ),
    "gateway": (502, b"<html>Bad Gateway</html>", HTML, "Vault cannot be reached"),
    "cut short": (200, b'{"request_id": "1", "data": {', JSON, "Vault's answer is malformed"),
    "NaN": (200, b'{"request_id": "1", "data": NaN}', JSON, "Vault's answer is malformed"),
    "twice": (200, b'{"request_id": "1", "request_id": "2"}', JSON, "Vault's answer is malformed"),
    "list": (200, b"[]", JSON, "Vault's answer is malformed"),
    "no UTF-8": (200, b'{"request_id": "\xff"}', JSON, "Vault's answer is malformed"),
    "deep": (200, b"[" * 100_000, JSON, "Vault's answer is malformed"),
    "packed": (200, b"x", {**JSON, "Content-Encoding": "gzip"}, "Vault's answer is incomplete"),
    "half": (200, b"{", {**JSON, "Content-Length": "100"}, "Vault"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_answer_of_vault(vault, open_reader, name):
    """A login page, another API, and JSON that nobody should believe."""
    status, body, headers, summary = FOREIGN[name]
    vault.override = lambda _request: (status, body, headers)
    limits = QUICK if name == "half" else ONCE
    assert refuse(open_reader(vault.url, "hvs.token", limits=limits)).summary.startswith(summary)


@pytest.mark.parametrize("announced", [True, False], ids=["length", "chunks"])
def test_an_answer_without_end(vault, open_reader, announced):
    """Ten gigabytes, announced or not: two megabytes are read, and no more."""
    gigabytes = 10 * 1024**3
    block = b"x" * (4 * 1024 * 1024)
    more = {"Content-Length": str(gigabytes)} if announced else {"Transfer-Encoding": "chunked"}
    content = block if announced else b"%x\r\n" % gigabytes + block
    vault.override = lambda _request: (200, content, {**JSON, **more})
    finding = refuse(open_reader(vault.url, "hvs.token", limits=ONCE))
    assert finding.summary == "Vault's answer is too large"


def test_data_that_is_not_what_was_asked_for(vault, open_reader):
    """Another version than the one that the manifest names; a version that is no number."""
    wrong = {"data": {"secret": "x"}, "metadata": {"version": 2}}
    vault.override = lambda _request: (200, json.dumps(reply(wrong)).encode(), JSON)
    assert (
        "does not contain the requested version 1"
        in refuse(open_reader(vault.url, "hvs.token"), version=1).detail
    )
    odd = {"data": {"secret": "x"}, "metadata": {"version": True}}
    vault.override = lambda _request: (200, json.dumps(reply(odd)).encode(), JSON)
    assert refuse(open_reader(vault.url, "hvs.token")).summary == "The mount is not KV version 2"


@pytest.mark.parametrize(
    "token", ["hvs.a\r\nX-Evil: 1", "hvs.a b", "hvs.\u00e4", "\n", "x" * 20_000]
)
def test_a_token_that_would_be_another_header(vault, open_reader, token):
    """Nothing is sent of it."""
    finding = refuse(open_reader(vault.url, token))
    assert finding.summary == "The login to Vault failed"
    assert vault.requests == []
    auth = {**reply(None), "auth": {"client_token": token, "lease_duration": 600}}
    vault.override = lambda one: (
        (200, json.dumps(auth).encode(), JSON) if "login" in one.path else None
    )
    assert "no token" in refuse(open_reader(vault.url, jwt=jwts.sign())).detail
    assert len(vault.requests) == 1


def test_one_login_and_one_read_for_all_threads(vault, open_reader):
    """Several keys of one secret share a read; a version is a read of its own."""
    vault.make_role("ci", "kv/raw-data")
    reader = open_reader(vault.url, jwt=jwts.sign())
    asked = [("secret", None), ("user", None), ("secret", 1)] * 20
    with ThreadPoolExecutor(16) as pool:
        values = list(
            pool.map(lambda one: reader.require_value_of_key("kv/raw-data", *one).reveal(), asked)
        )
    assert values == ["value", "reader", "value"] * 20
    assert vault.count("POST", "/v1/auth/jwt/login") == 1
    assert vault.count("GET", "/v1/kv/data/raw-data") == 1
    assert vault.count("GET", "/v1/kv/data/raw-data?version=1") == 1
    assert vault.violations == []


def test_the_first_login_that_has_a_credential(vault, open_reader):
    """A token wins over a JWT; without either each variable is named."""
    token = vault.make_token("*")
    reader = open_reader(vault.url, token, jwts.sign())
    assert str(reader.log_in_and_check_token().login) == "the token of VAULT_TOKEN"
    assert [str(offer) for offer in reader.list_login_offers()] == [
        "the token of VAULT_TOKEN",
        "role ci (JWT of JOB_JWT, auth/jwt) is not needed",
    ]
    assert vault.count("POST", "/v1/auth/jwt/login") == 0
    unset = open_reader(vault.url, token, unset=("VAULT_TOKEN",)).log_in_and_check_token
    with pytest.raises(SecretUnavailable) as caught:
        unset()
    assert caught.value.diagnostics[0].summary == "No login for Vault"
    assert "VAULT_TOKEN is not set" in caught.value.diagnostics[0].detail


@pytest.mark.parametrize(
    "path",
    ["v1/../../other/x", "v1/%2e%2e/%2E%2e/other/x", "v1/..\\\\..\\\\other", "v1/a/./../../x"],
)
@pytest.mark.parametrize("is_whole", [False, True])
def test_a_redirect_leaves_no_path_by_dots(vault, open_reader, path, is_whole):
    """Another service of the same server may be there; what a server takes out is not sent."""
    moved = {"Location": f"{vault.url if is_whole else ''}/secrets/{path}"}
    vault.override = lambda _request: (307, b"", moved)
    reader = open_reader(f"{vault.url}/secrets", "hvs.token")
    assert refuse(reader).summary == "This Vault is a standby"
    assert len(vault.requests) == 1


def test_a_vault_behind_a_path(vault, open_reader):
    """A web server may serve it under a prefix; a redirect may not leave that."""
    answer = vault.answer

    def serve_below_prefix(one):
        if not one.path.startswith("/secrets/v1/"):
            return 404, b"", HTML
        one.path = one.path.removeprefix("/secrets")
        status, document = answer(one)
        return status, json.dumps(document).encode(), JSON

    vault.override = serve_below_prefix
    reader = open_reader(f"{vault.url}/secrets/", vault.make_token("*"))
    assert reader.require_value_of_key("kv/raw-data", "secret").reveal() == "value"
    vault.override = lambda _request: (307, b"", {"Location": "/v1/kv/data/other"})
    assert refuse(reader, "kv/other").summary == "This Vault is a standby"
