"""What a run is told by its machine: hosts a token may go to, CI runs, urls as state keeps them."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.manifests.manifests_on_disk import project_of

from synapse_apply import Invocation
from synapse_apply.model.errors import InputError
from synapse_apply.workspace.environment import (
    SystemClock,
    ci_run_url,
    normalize_base_url,
    require_allowed_host,
)
from synapse_apply.workspace.target_session import TargetSession


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("https://api.example.org", ""),
        ("https://api.example.org/v1", "api.example.org"),
        ("https://API.example.org", " other.org , api.EXAMPLE.org"),
        ("https://api.example.org:8443", "api.example.org:8443"),
        ("https://api.example.org:8443", "api.example.org"),
        ("http://[::1]:80", "::1"),
        ("http://localhost:8000", "localhost"),
        ("http://api.example.org", "http://api.example.org"),
        ("http://api.example.org:8080", "HTTP://api.example.org"),
        ("https://api.example.org", "http://api.example.org"),
    ],
)
def test_hosts_that_are_allowed(url, hosts):
    """By name, or by name and port; without a list every host is."""
    require_allowed_host(url, {"SYNAPSE_APPLY_HOSTS": hosts} if hosts else {})


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("https://evil.org", "api.example.org"),
        ("https://api.example.org.evil.org", "api.example.org"),
        ("https://api.example.org@evil.org", "api.example.org"),
        ("https://evil.org/api.example.org", "api.example.org"),
        ("https://evil.org?api.example.org", "api.example.org"),
        ("https://api.example.org:444", "api.example.org:443"),
        ("https://sub.api.example.org", "api.example.org"),
        ("not a url", "api.example.org"),
        ("https://api.example.org:evil", "api.example.org"),
        ("https://api.example.org:99999", "api.example.org"),
        ("https://api.example.org:22:evil", "api.example.org"),
        ("https://[evil", "api.example.org"),
    ],
)
def test_hosts_that_are_not(url, hosts):
    """Neither a prefix, a user name, a path nor another port helps."""
    with pytest.raises(InputError, match="may not go to this host"):
        require_allowed_host(url, {"SYNAPSE_APPLY_HOSTS": hosts})


@pytest.mark.parametrize(
    ("url", "hosts", "to_list"),
    [
        ("http://api.example.org", "api.example.org", "http://api.example.org "),
        ("HTTP://api.example.org:8080", "api.example.org", "http://api.example.org:8080 "),
        ("http://127.0.0.1.example.org", "127.0.0.1.example.org", "http://127.0.0.1.example.org "),
    ],
)
def test_no_plain_http_to_a_host_that_is_listed_for_https(url, hosts, to_list):
    """Who listens on the way would have the token; the message has the entry that allows it."""
    with pytest.raises(InputError, match="The token may not go unencrypted") as caught:
        require_allowed_host(url, {"SYNAPSE_APPLY_HOSTS": hosts})
    assert to_list in caught.value.diagnostics[0].hint


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("HTTPS://API.Example.org/", "https://api.example.org"),
        ("https://api.example.org/Base/", "https://api.example.org/Base"),
        ("http://127.0.0.1:80", "http://127.0.0.1:80"),
    ],
)
def test_urls_as_state_keeps_them(url, kept):
    """A last slash or a capital letter makes no other backend."""
    assert normalize_base_url(url) == kept


def test_ci_runs_are_named_by_their_url():
    """GitHub's parts, GitLab's whole; nothing half."""
    github = {
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": "acme/plugins",
        "GITHUB_RUN_ID": "7",
    }
    assert ci_run_url(github) == "https://github.com/acme/plugins/actions/runs/7"
    assert ci_run_url({"CI_JOB_URL": "https://gitlab.example/1"}) == "https://gitlab.example/1"
    assert ci_run_url({**github, "GITHUB_RUN_ID": ""}) == ""
    assert ci_run_url({}) == ""


def test_the_clock_writes_rfc_3339():
    """Microseconds and Z, always, so that times sort as text."""
    assert len(SystemClock().utc_now()) == len("2026-01-01T00:00:00.000000Z")
    assert SystemClock().utc_now().endswith("Z")


@pytest.mark.parametrize("environ", [{}, {"TOK": ""}])
def test_a_token_that_is_not_there_names_its_target(environ: dict[str, str], tmp_path: Path):
    """A variable's name alone does not say what it is for, nor which target wants it."""
    text = "targets:\n  dev: {url: 'http://127.0.0.1:1', token: {env: TOK}}\n"
    session = TargetSession(Invocation(environ=environ, target="dev"))
    session.project = project_of(tmp_path, text)
    with pytest.raises(InputError) as caught:
        _ = session.backend
    (finding,) = caught.value.diagnostics
    assert "token of target dev" in finding.detail
    assert "TOK" in finding.detail
    assert finding.position is not None


@pytest.mark.parametrize("blank", ["", " ", ",", " , "])
def test_a_limit_that_names_no_host_is_not_no_limit(blank: str) -> None:
    """A CI variable that does not exist expands to nothing; the token stays here then."""
    with pytest.raises(InputError) as caught:
        require_allowed_host("https://api.example.org", {"SYNAPSE_APPLY_HOSTS": blank})

    assert "names no host" in caught.value.diagnostics[0].summary
