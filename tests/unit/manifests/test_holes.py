"""What fills the holes of a target, in which order, and to which host a token may go."""

from __future__ import annotations

from typing import Any

import pytest

from synapse_apply.manifests.project.targets import fill_settings
from synapse_apply.model.project import Target
from synapse_apply.model.secrets.secret_rules import Login, have_same_origin
from synapse_apply.model.values import SecretRef, Sensitive

A, B = "https://a.example", "https://b.example"
LOGIN = Login("~/login.json", A, "acme", Sensitive("t0ken"))
VARIABLE = SecretRef("env", "SYNAPSE_ACCESS_TOKEN")
OWN = SecretRef("env", "PROD_TOKEN")


def fill(environ: dict[str, str], login: Login | None = LOGIN, **said: Any) -> Target:
    names = {name: f"SYNAPSE_{name}" for name in ("HOST", "ACCESS_TOKEN", "TENANT")}
    given = {names[name]: value for name, value in environ.items()}
    return fill_settings(Target("prod", **said), given, lambda: login)


def taken(target: Target) -> tuple[str, str, str]:
    """Url, where the token comes from, tenant."""
    return target.url, target.token.name if target.token else "", target.tenant


@pytest.mark.parametrize(
    ("said", "environ", "expected"),
    [
        ({}, {}, (A, "~/login.json", "acme")),
        ({"url": A}, {}, (A, "~/login.json", "acme")),
        ({"url": f"{A}:443/below"}, {}, (f"{A}:443/below", "~/login.json", "acme")),
        ({"tenant": "own"}, {}, (A, "~/login.json", "own")),
        ({}, {"TENANT": "env"}, (A, "~/login.json", "env")),
        ({}, {"HOST": A}, (A, "~/login.json", "acme")),
        ({}, {"HOST": B}, (B, "", "")),
        ({"url": B}, {}, (B, "", "")),
        ({"url": "http://a.example"}, {}, ("http://a.example", "", "")),
        ({"url": f"{A}:8443"}, {}, (f"{A}:8443", "", "")),
        ({"url": "https://a.example.evil.example"}, {}, ("https://a.example.evil.example", "", "")),
        ({}, {"ACCESS_TOKEN": "x"}, (A, VARIABLE.name, "")),
        ({"url": B}, {"ACCESS_TOKEN": "x"}, (B, VARIABLE.name, "")),
        ({"url": A}, {"HOST": f"{A}/", "ACCESS_TOKEN": "x"}, (A, VARIABLE.name, "")),
        ({"url": A}, {"HOST": B, "ACCESS_TOKEN": "x"}, (A, "~/login.json", "acme")),
        ({"url": A, "token": OWN}, {"HOST": B, "ACCESS_TOKEN": "x"}, (A, OWN.name, "")),
        ({"url": B, "token": OWN}, {}, (B, OWN.name, "")),
        ({"url": A, "token": VARIABLE}, {"HOST": B, "ACCESS_TOKEN": "x"}, (A, VARIABLE.name, "")),
    ],
)
def test_who_wins(
    said: dict[str, Any], environ: dict[str, str], expected: tuple[str, str, str]
) -> None:
    """The project file, the environment, the login; a token goes to its own host alone."""
    assert taken(fill(environ, **said)) == expected


def test_the_token_of_a_login_is_the_one_that_was_read_with_its_host() -> None:
    """A file that changes meanwhile cannot send another one there."""
    token = fill({}).token
    assert token == SecretRef("login", "~/login.json", literal=Sensitive("t0ken"))
    assert "t0ken" not in repr(fill({}))


def test_a_login_is_read_only_for_what_nothing_else_gives() -> None:
    """Who says it all needs no such file."""

    def never() -> Login:
        raise AssertionError("it was read")

    environ = {"SYNAPSE_HOST": A, "SYNAPSE_ACCESS_TOKEN": "x"}
    assert fill_settings(Target("prod"), environ, never).url == A
    fill_settings(Target("prod", url=B, token=OWN), {}, never)
    assert fill_settings(Target("embedded"), {}, never) == Target("embedded")


@pytest.mark.parametrize(
    ("login", "words"),
    [
        (None, "~/.synapse/config.json is not there"),
        (
            Login("~/f", problem="it is not a JSON object"),
            "~/f cannot be used: it is not a JSON object",
        ),
        (Login("~/f", "api.example", token=Sensitive("t0ken")), "~/f cannot be used: its host is"),
        (Login("~/f", f"https://u:pass@{A[8:]}"), "~/f cannot be used: its host is not an http"),
    ],
)
def test_every_place_is_told(login: Login | None, words: str) -> None:
    """What was looked at and what was there, never a value."""
    target = fill({}, login)
    assert target.url == ""
    for setting in ("url", "token"):
        told = target.describe_setting_sources(setting)
        assert f"{setting} of the target is not set; SYNAPSE_" in told
        assert words in told
        assert "pass" not in told


def test_why_a_token_is_not_sent() -> None:
    """The hosts are named, so that it can be seen which one is wrong."""
    told = fill({"HOST": A, "ACCESS_TOKEN": "x"}, url=B).describe_setting_sources("token")
    assert (
        "SYNAPSE_ACCESS_TOKEN is not used: it belongs to SYNAPSE_HOST, which is another host; "
        in told
    )
    assert f"~/login.json has a token for {A}, which is another host" in told
    lacks = Login("~/f", A, no_login_reason="has no access_token")
    assert "~/f has no access_token" in fill({}, lacks).describe_setting_sources("token")


def test_origins() -> None:
    """Scheme, host and port, however they are written."""
    assert have_same_origin("HTTPS://A.example", "https://a.example:443/x")
    assert not have_same_origin("", "")
    assert not have_same_origin("https://a.example:99999", "https://a.example:99999")
