"""What a `git:` URL of a state may say."""

from __future__ import annotations

import pytest

from synapse_apply.model.errors import InputError
from synapse_apply.stores.git.git_url import GitStateLocation, is_git_url, parse_git_url

REF = "refs/synapse-apply/state/prod"


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("git:origin", GitStateLocation("origin", False, REF, 10.0)),
        ("git:up/stream?pace=0", GitStateLocation("up/stream", False, REF, 0.0)),
        (
            "git:https://git.example.com:8443/a/b.git?ref=refs/heads/state",
            GitStateLocation("https://git.example.com:8443/a/b.git", True, "refs/heads/state", 10),
        ),
        ("git:ssh://git@h/a.git", GitStateLocation("ssh://git@h/a.git", True, REF, 10.0)),
        ("git:file:///srv/a.git", GitStateLocation("file:///srv/a.git", True, REF, 10.0)),
        ("git:http://127.0.0.1:80/a", GitStateLocation("http://127.0.0.1:80/a", True, REF, 10.0)),
    ],
)
def test_urls_that_are_used(url: str, location: GitStateLocation) -> None:
    """A remote by its name or its URL, a ref and a pace."""
    assert is_git_url(url)
    assert parse_git_url(url, "prod") == location


@pytest.mark.parametrize(
    "url",
    [
        "git:",
        "git:-origin",
        "git:../a",
        "git:a b",
        "git:https://user:hunter2@h/a",
        "git:https://hunter2@h/a",
        "git:ssh://git:hunter2@h/a",
        "git:http://h/a",
        "git:ext::sh -c hunter2",
        "git:ext://hunter2",
        "git:https://[/hunter2",
        "git:origin?ref=main",
        "git:origin?ref=refs/heads/../a",
        "git:origin?ref=refs/heads/a.lock",
        "git:origin?ref=refs/heads/-a",
        "git:origin?ref=refs/heads/a%20b",
        "git:origin?pace=-1",
        "git:origin?pace=nan",
        "git:origin?pace=soon",
        "git:origin?branch=a",
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    """With a way out, and without what may be a password."""
    with pytest.raises(InputError) as refused:
        parse_git_url(url, "prod")
    (finding,) = refused.value.diagnostics
    assert finding.hint
    assert "hunter2" not in f"{finding.detail}{finding.hint}"


def test_each_target_has_a_ref_of_its_own() -> None:
    """Whatever characters its name has; none is the history of another one."""
    targets = ["a", "a.b", "a.lock", "a..b", "a.", "con", "a-previous"]
    locations = [parse_git_url("git:origin", target) for target in targets]
    refs = [name for location in locations for name in (location.ref, location.previous_ref)]
    assert len(set(refs)) == 2 * len(targets)
    assert locations[3].ref == "refs/synapse-apply/state/a%2E%2Eb"


def test_another_protocol_is_none_of_ours() -> None:
    """`git://` is not encrypted and knows no user."""
    assert not is_git_url("git://h/a")
    assert not is_git_url("https://h/a")
