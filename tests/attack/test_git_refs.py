"""What a Git ref means: what others may name is not taken for the base branch."""

from __future__ import annotations

import pytest
from attack.checkouts import BASE, EVIL, GOOD, Checkout, checkout
from e2e.pipelines.conftest import World, forge, fresh, interpreter
from git_repositories import commit, git
from laws.effort import DEEP
from unit.packages.trees import write

from synapse_apply import SynapseApplyError

__all__ = ["checkout", "forge", "fresh", "interpreter"]

IMPOSTORS = ["refs/tags/origin/main", "refs/heads/origin/main", "refs/origin/main"]


UPSTREAM = """\
[remote "origin"]
    url = x
    fetch = +refs/heads/*:refs/remotes/origin/*
[branch "change"]
    remote = origin
    merge = refs/heads/main
[push]
    default = upstream
"""


def assert_ambiguous(checkout: Checkout, ref: str, *names: str) -> None:
    """Whoever asks is told every full name, and takes none."""
    for ask in (checkout.url, checkout.names, checkout.changes, checkout.digest):
        with pytest.raises(SynapseApplyError, match="Ambiguous Git ref") as caught:
            ask(ref)
        (finding,) = caught.value.diagnostics
        assert [name for name in names if f"{name} (" not in finding.detail] == []
        assert "full name" in finding.hint


@pytest.mark.parametrize("impostor", IMPOSTORS)
def test_a_name_that_others_have_given(checkout: Checkout, impostor: str) -> None:
    """A tag or a branch of the change, called as the base branch is."""
    git(checkout.top, "update-ref", impostor, checkout.head)
    assert_ambiguous(checkout, "origin/main", impostor, BASE)
    for steps in ("~0", "^0", "^{commit}", "^{}", "~0^{/work}", "@{0}"):
        with pytest.raises(SynapseApplyError, match="Ambiguous Git ref"):
            checkout.url(f"origin/main{steps}")
    assert checkout.url(BASE) == checkout.url("remotes/origin/main") == GOOD
    assert checkout.url(impostor) == EVIL


@pytest.mark.parametrize("steps", ["", "~0", "^0", "^{commit}"])
def test_all_of_them_at_once_are_told(checkout: Checkout, steps: str) -> None:
    """Also a tag with a message, and with another tag in between."""
    git(checkout.top, "tag", "-a", "-m", "x", "inner", checkout.head)
    git(checkout.top, "tag", "-a", "-m", "x", "origin/main", "inner")
    for impostor in IMPOSTORS[1:]:
        git(checkout.top, "update-ref", impostor, checkout.head)
    assert_ambiguous(checkout, f"origin/main{steps}", *IMPOSTORS, BASE)


def test_one_commit_under_several_names_is_no_doubt(checkout: Checkout) -> None:
    """As a release branch and its tag often are."""
    git(checkout.top, "tag", "-a", "-m", "x", "origin/main", BASE)
    git(checkout.top, "update-ref", "refs/heads/origin/main", BASE)
    assert checkout.url("origin/main") == GOOD


@pytest.mark.parametrize("content", ["blob", "tree", "nothing"])
def test_an_impostor_that_is_no_commit(checkout: Checkout, content: str) -> None:
    """What is not here may be any commit; a file is none, and still somebody's doing."""
    if content == "nothing":
        file = checkout.top / ".git" / "refs" / "tags" / "origin" / "main"
        file.parent.mkdir(parents=True)
        file.write_text(f"{'1' * 40}\n")
    else:
        at = "HEAD^{tree}" if content == "tree" else "HEAD:deploy/prod/p/config.yaml"
        git(checkout.top, "update-ref", "refs/tags/origin/main", git(checkout.top, "rev-parse", at))
    assert_ambiguous(checkout, "origin/main", "refs/tags/origin/main", BASE)
    assert checkout.url(BASE) == GOOD


@pytest.mark.parametrize("length", [4, 7, 12, 39] if DEEP else [7])
@pytest.mark.parametrize("place", ["refs/heads", "refs/tags", "refs/remotes"])
def test_a_name_like_the_beginning_of_an_id(checkout: Checkout, length: int, place: str) -> None:
    """Git would take the name before the commit."""
    short = checkout.base[:length]
    git(checkout.top, "update-ref", f"{place}/{short}", checkout.head)
    assert_ambiguous(checkout, short, f"{place}/{short}", checkout.base)
    git(checkout.top, "update-ref", f"{place}/v1-1-g{short}", checkout.head)
    assert_ambiguous(checkout, f"v1-1-g{short}", f"{place}/v1-1-g{short}", checkout.base)
    git(checkout.top, "update-ref", "-d", f"{place}/{short}")
    assert checkout.url(short) == GOOD


@pytest.mark.parametrize("place", ["refs/heads", "refs/tags", "refs/remotes", "refs"])
def test_a_name_like_a_whole_id(checkout: Checkout, place: str) -> None:
    """A full id is what it says, in the settings, the manifests and a comparison."""
    for length in (7, 40):
        name = f"{place}/{checkout.base[:length]}"
        git(checkout.top, "update-ref", name, checkout.head)
    assert checkout.url(checkout.base) == GOOD
    assert checkout.names(checkout.base) == ["good"]
    assert checkout.changes(BASE) == checkout.changes(checkout.base) == ["storage/bucket"]
    git(checkout.top, "update-ref", f"{place}/{'1' * 40}", checkout.head)
    with pytest.raises(SynapseApplyError, match="Unknown Git ref"):
        checkout.url("1" * 40)


@pytest.mark.parametrize("place", ["refs/tags", "refs/heads", "refs/remotes", "refs"])
@pytest.mark.parametrize("ref", ["HEAD", "@", "HEAD~0", "@^0"] if DEEP else ["HEAD", "@~0"])
def test_a_name_like_what_is_checked_out(checkout: Checkout, place: str, ref: str) -> None:
    """HEAD has no longer name, so it is what is checked out alone."""
    git(checkout.top, "update-ref", f"{place}/HEAD", checkout.head)
    git(checkout.top, "update-ref", f"{place}/@", checkout.head)
    git(checkout.top, "checkout", "-q", "--detach", checkout.base)
    assert checkout.url(ref) == GOOD


def test_a_tag_called_head_where_nothing_is_committed(checkout: Checkout) -> None:
    """Git would fall back to it."""
    git(checkout.top, "tag", "HEAD", checkout.head)
    git(checkout.top, "symbolic-ref", "HEAD", "refs/heads/unborn")
    with pytest.raises(SynapseApplyError, match="No commit yet"):
        checkout.url("HEAD")


@pytest.mark.parametrize("place", ["refs/tags", "refs/heads"])
def test_a_name_like_what_was_fetched(checkout: Checkout, place: str) -> None:
    """FETCH_HEAD, as `git fetch origin main` leaves it."""
    (checkout.top / ".git" / "FETCH_HEAD").write_text(f"{checkout.base}\t\tbranch 'main'\n")
    assert checkout.url("FETCH_HEAD") == GOOD
    git(checkout.top, "update-ref", f"{place}/FETCH_HEAD", checkout.head)
    assert_ambiguous(checkout, "FETCH_HEAD", f"{place}/FETCH_HEAD", "FETCH_HEAD")


@pytest.mark.parametrize("place", ["refs/tags", "refs/heads", "refs/remotes", "refs"])
def test_a_full_name_means_nothing_else(checkout: Checkout, place: str) -> None:
    """A base that was never fetched is unknown, whoever else is called so below another name."""
    git(checkout.top, "update-ref", f"{place}/{BASE}", checkout.head)
    assert checkout.url(BASE) == GOOD
    git(checkout.top, "update-ref", "-d", BASE)
    with pytest.raises(SynapseApplyError, match="Unknown Git ref"):
        checkout.url(BASE)


@pytest.mark.parametrize("ref", [":/origin/main", ":/changed", "HEAD:deploy", "HEAD..origin/main",
                                 "^origin/main", "origin/ma*", "origin/main:", "*"])  # fmt: skip
def test_words_that_are_no_name(checkout: Checkout, ref: str) -> None:
    """A message of the change, ranges and patterns name no commit."""
    write(checkout.top, {"a": "x"})
    commit(checkout.top, "origin/main changed")
    with pytest.raises(SynapseApplyError, match="Unknown Git ref"):
        checkout.url(ref)


@pytest.mark.parametrize("ref", ["@{u}", "@{upstream}", "change@{u}", "@{push}", "@{-1}", "main",
                                 "change~1", "HEAD^", "change@{1}", "HEAD@{1}", "@{1}"])  # fmt: skip
def test_words_that_people_use(checkout: Checkout, ref: str) -> None:
    """Upstreams, older values and ancestors mean what Git takes them for."""
    with (checkout.top / ".git" / "config").open("a") as file:
        file.write(UPSTREAM)
    assert checkout.url(ref) == GOOD
    git(checkout.top, "tag", "main@", checkout.head)
    git(checkout.top, "tag", "origin/main", checkout.head)
    assert checkout.url("@{u}") == GOOD


def test_a_tag_called_as_the_base_in_the_shipped_workflow(
    fresh: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`fetch-depth: 0` brings every tag; the pull request is judged by the base all the same."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    base = git(fresh.checkout, "rev-parse", BASE)
    project = fresh.checkout / "synapse-apply.yaml"
    project.write_text(project.read_text().replace(fresh.url, EVIL))
    sha = fresh.change()
    for impostor in IMPOSTORS:
        git(fresh.checkout, "update-ref", impostor, sha)
    done = fresh.runner(sha, head="stranger/vision").job("pull-request.yml", "check")
    assert done.ok, done.log
    assert f"against git:{BASE} ({base[:7]})" in done.log
    assert "Plan: 0 to add, 1 to change, 0 to destroy." in done.log
    assert f"targets.prod.url: the plan uses the settings of {BASE}" in done.log
