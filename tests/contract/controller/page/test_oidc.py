"""Log-in by a provider of OpenID Connect: who is let in, and what forged answers get."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from answering import Answer, Asked, answering
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from unit.controller.page import page_samples as samples
from unit.controller.page import people_samples as people

from synapse_apply.controller.configuration.secrets import AccessSecrets
from synapse_apply.controller.page.server import PageServer
from synapse_apply.controller.settings import AccessRule, OidcAccess, Right, SecretName
from synapse_apply.model.values import Sensitive

from .conftest import PUBLIC_HOST, ServedPage

SECRET = "c4n4ry-client-secret"
CLIENT = "synapse apply"  # with a character that a header has to encode
OUR_KEY, OTHER_KEY = (RSAKey.generate_key(2048, {"kid": "k1"}) for _ in range(2))
SESSION, ATTEMPT = "__Host-synapse-apply", "__Host-synapse-apply-login"
DAY_FROM_NOW = {"iat": int(samples.NOW), "exp": int(samples.NOW) + 86400}


class Team:
    """A provider, a page that trusts it, and a browser with its cookies."""

    def __init__(self, url: str) -> None:
        self.issuer = url
        self.metadata: dict[str, Any] = {
            "issuer": url,
            "authorization_endpoint": f"{url}/authorize",
            "token_endpoint": f"{url}/token",
            "jwks_uri": f"{url}/keys",
        }
        self.claims: dict[str, Any] = {}
        self.sign = lambda claims: jwt.encode({"alg": "RS256", "kid": "k1"}, claims, OUR_KEY)
        self.status = 200
        self.asked: dict[str, str] = {}
        self.secrets = [AccessSecrets(oidc=Sensitive(SECRET))]
        self.cookies: dict[str, str] = {}
        self.page: ServedPage

    def answer(self, asked: Asked) -> Answer:
        if asked.path == "/.well-known/openid-configuration":
            return self.status, self.metadata
        if asked.path == "/keys":
            odd = {"kty": "OKP", "crv": "X448", "x": "AA", "kid": "odd"}
            return 200, {"keys": [odd, OUR_KEY.as_dict(private=False)]}
        assert (asked.method, asked.path) == ("POST", "/token")
        login = base64.b64encode(f"synapse%20apply:{SECRET}".encode()).decode()
        verifier = sha256(asked.body["code_verifier"].encode()).digest()
        is_genuine = (
            asked.headers["Authorization"] == f"Basic {login}"
            and asked.body["code"] == "c0de"
            and _encode(verifier) == self.asked["code_challenge"]
            and asked.body["redirect_uri"] == self.asked["redirect_uri"]
        )
        if not is_genuine:
            return 400, {"error": "invalid_grant"}
        claims = {
            "iss": self.issuer, "aud": CLIENT, "sub": "00u1", "nonce": self.asked["nonce"],
            **DAY_FROM_NOW, "email": "ann@acme.example", "email_verified": True,
            "groups": ["sre", "unnamed"], **self.claims,
        }  # fmt: skip
        known = {name: value for name, value in claims.items() if value is not None}
        return 200, {"access_token": "a", "token_type": "Bearer", "id_token": self.sign(known)}

    def get(self, path: str) -> requests.Response:
        """What the browser gets; it keeps the cookies that it is given."""
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"Host": PUBLIC_HOST, "Accept": "text/html", "Cookie": cookies}
        answer = self.page.get(path, **headers)
        for cookie in answer.raw.headers.getlist("set-cookie"):
            (name, _, value), *rules = (part.partition("=") for part in cookie.split("; "))
            named = {rule[0].lower() for rule in rules}
            assert {"secure", "httponly", "samesite"} <= named
            assert "domain" not in named
            self.cookies[name] = value.strip('"')
        return answer

    def begin(self, page: str = "") -> dict[str, str]:
        """What the browser is sent to the provider with."""
        answer = self.get(f"/login/oidc{page}")
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"].startswith(self.metadata["authorization_endpoint"] + "?")
        self.asked = dict(parse_qsl(urlsplit(answer.headers["location"]).query))
        return self.asked

    def end(self, state: str = "", code: str = "c0de") -> requests.Response:
        state = state or self.asked["state"]
        return self.get(f"/login/oidc/callback?state={state}&code={code}")


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    def answer(asked: Asked) -> Answer:
        return team.answer(asked)

    with closing(samples.open_store(tmp_path)) as store, answering(answer) as told:
        people.fill_held(store)
        team = Team(told.url)
        oidc = OidcAccess(team.issuer, CLIENT, SecretName("env", "S"))
        rules = (
            AccessRule(("group:sre",), frozenset({Right.READ, Right.APPROVE})),
            AccessRule(("oidc:kim@acme.example",), frozenset({Right.READ}), ("acme/dev",)),
        )
        access = replace(people.ACCESS, proxy=None, tokens={}, oidc=oidc, rules=rules)
        public_url = f"https://{PUBLIC_HOST}"
        settings = replace(people.SETTINGS, access=access, public_url=public_url)
        loop = samples.StubLoop(settings)
        with PageServer(store, loop, {}, lambda: samples.NOW, lambda: team.secrets[-1]) as server:
            put, drop = loop.people.log_in, store.write

            def log_in(who: str, session: Any, old_digest: str) -> None:
                put(who, session, old_digest)
                with drop() as writer:
                    writer.delete_session(old_digest)
                    writer.put_session(session)

            loop.people.log_in = log_in
            team.page = ServedPage(server.url, loop, store)
            yield team


def test_who_logs_in_at_the_provider_is_that_person_here_in_their_groups(team):
    assert team.get("/targets/acme/staging").headers["location"].startswith("/login?page=")
    assert (
        'href="/login/oidc?page=/targets/acme/staging"'
        in team.get("/login?page=/targets/acme/staging").text
    )
    asked = team.begin("?page=/targets/acme/staging")
    assert asked["redirect_uri"] == f"https://{PUBLIC_HOST}/login/oidc/callback"
    assert (asked["scope"], asked["client_id"]) == ("openid email profile", CLIENT)
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    answer = team.end()
    assert (answer.status_code, answer.headers["location"]) == (303, "/targets/acme/staging")
    assert team.cookies[ATTEMPT] == ""
    page = team.get("/targets/acme/staging")
    assert page.status_code == 200
    assert "ann@acme.example" in page.text
    assert "Log out" in page.text
    assert "Approve" in page.text
    assert SECRET not in page.text


def test_a_rule_may_name_one_person(team):
    team.claims = {"email": "kim@acme.example", "groups": ["other"]}
    team.begin()
    assert team.end().status_code == 303
    assert team.get("/targets/acme/dev").status_code == 200
    assert team.get("/targets/acme/staging").status_code == 404


NO_ALGORITHM, SHARED_SECRET = (
    base64.urlsafe_b64encode(f'{{"alg":"{name}","kid":"k1"}}'.encode()).decode().rstrip("=")
    for name in ("none", "HS256")
)


def _sign_by(key: Any, **header: str) -> Callable[[Any], str]:
    return lambda claims: jwt.encode({"kid": "k1", **header}, claims, key, [header["alg"]])


def _without_signature(claims: Any) -> str:
    return f"{NO_ALGORITHM}.{_sign_by(OUR_KEY, alg='RS256')(claims).split('.')[1]}."


def _sign_by_the_public_key(claims: Any) -> str:
    """With the algorithm of a shared secret, for which the key that all know is taken."""
    body = _sign_by(OUR_KEY, alg="RS256")(claims).split(".")[1]
    text = f"{SHARED_SECRET}.{body}"
    return f"{text}.{_encode(hmac.digest(OUR_KEY.as_pem(private=False), text.encode(), 'sha256'))}"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "0" * 64}, {"nonce": None}, {"iss": "https://evil.example"}, {"iss": None},
        {"aud": "another"}, {"aud": ["another", CLIENT]}, {"aud": None}, {"azp": "another"},
        {"exp": int(samples.NOW) - 61}, {"exp": None}, {"iat": int(samples.NOW) + 3600},
        {"email_verified": False}, {"email_verified": None}, {"email_verified": "true"},
        {"email": None}, {"email": ""}, {"email": ["ann@acme.example"]}, {"sub": None},
        {"email": "ann@acme.example\u202e"}, {"email": "<b>ann</b>"}, {"email": "a" * 201},
    ],
)  # fmt: skip
def test_a_token_with_other_claims_lets_nobody_in(team, claims):
    team.begin()
    team.claims = claims
    assert_refused(team, team.end())


@pytest.mark.parametrize(
    "sign",
    [
        _sign_by(OTHER_KEY, alg="RS256"), _without_signature,
        _sign_by_the_public_key,
        _sign_by(OctKey.import_key(SECRET), alg="HS256"),
        lambda _claims: "x", lambda _claims: None, lambda _claims: {"alg": "none"},
    ],
    ids=["another key", "none", "public key as secret", "client secret", "text", "null", "object"],
)  # fmt: skip
def test_a_token_that_the_provider_did_not_sign_lets_nobody_in(team, sign):
    team.begin()
    team.sign = sign
    assert_refused(team, team.end())


def assert_refused(team: Team, answer: requests.Response) -> None:
    """Nobody is logged in, and the page says nothing of what the provider sent."""
    assert answer.status_code == 403
    assert "You are not logged in" in answer.text
    assert not team.cookies.get(SESSION)
    assert "evil" not in answer.text
    assert SECRET not in answer.text


def test_an_answer_that_this_browser_did_not_ask_for_lets_nobody_in(team):
    """Neither a forged state, nor one of another browser: nobody is logged in as somebody else."""
    theirs = dict(team.begin())
    their_cookies, team.cookies = team.cookies, {}
    assert_refused(team, team.end(theirs["state"]))
    team.begin()
    assert_refused(team, team.end(theirs["state"]))
    assert_refused(team, team.end("0" * 64))
    assert_refused(team, team.end("\u00e4"))
    assert_refused(team, team.get("/login/oidc/callback"))
    assert_refused(team, team.end(code=""))
    assert_refused(team, team.end(code="another"))
    # A stolen code is of no use in another browser: it was asked for with another verifier.
    team.asked, own = theirs, team.asked
    assert_refused(team, team.end(own["state"]))
    team.cookies = their_cookies
    assert team.end().status_code == 303


def test_a_log_in_ends_the_session_of_before_and_makes_a_new_one(team):
    team.begin()
    team.end()
    first = team.cookies[SESSION]
    team.begin()
    team.end()
    assert team.cookies[SESSION] != first
    assert team.get("/audit").status_code == 200
    team.cookies[SESSION] = first
    assert team.get("/audit").status_code == 303


@pytest.mark.parametrize("what", ["groups", "secret", "issuer", "oidc"])
def test_a_session_is_of_its_groups_and_of_the_provider_that_is_configured(team, what):
    """Nobody gives themselves a group, and a session ends where the provider is another one."""
    team.claims = {"groups": []} if what == "groups" else {}
    team.begin()
    team.end()
    path = "/targets/acme/staging"
    assert team.get(path).status_code == (404 if what == "groups" else 200)
    settings, page = team.page.loop.settings, team.page
    oidc = settings.access.oidc
    if what == "groups":
        team.cookies[SESSION] += "." + _encode(b'["sre"]')
    elif what == "secret":
        team.secrets.append(AccessSecrets(oidc=Sensitive("another-secret-of-ours")))
    else:
        changed = replace(oidc, issuer="https://other.example") if what == "issuer" else None
        access = replace(settings.access, oidc=changed, tokens=people.ACCESS.tokens)
        page.loop.settings = replace(settings, access=access)
    assert team.get(path).status_code == 303


@pytest.mark.parametrize("page", ["//evil.example/", "https://evil.example", "/\\evil.example"])
def test_a_log_in_leads_to_pages_of_ours_alone(team, page):
    team.begin(f"?page={page}")
    assert team.end().headers["location"] == "/"


@pytest.mark.parametrize(
    "broken",
    [
        {"issuer": "https://evil.example"}, {"token_endpoint": "http://evil.example/token"},
        {"jwks_uri": None}, {"authorization_endpoint": "javascript:alert(1)"}, {"token_endpoint": 1},
    ],
)  # fmt: skip
def test_a_provider_that_names_other_places_is_not_asked(team, broken):
    team.metadata |= broken
    assert_refused(team, team.get("/login/oidc"))


def test_a_provider_that_is_away_lets_nobody_in(team):
    team.status = 503
    answer = team.get("/login/oidc")
    assert_refused(team, answer)
    assert "The provider did not answer as expected: status 503." in answer.text


def test_a_session_of_the_page_is_no_token_of_the_api(team):
    team.begin()
    team.end()
    assert team.get("/api/v1/targets").status_code == 401
