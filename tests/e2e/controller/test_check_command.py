"""`controller check` refuses what a start of that file would, `check --online` all that a start does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from contract.controller.upstream import PROJECT, Upstream
from in_process import run

ENVIRON = {"STATUS_TOKEN": "status-token-1234567890", "OPS_TOKEN": "ops-token-1234567890"}
CONFIGURATION = """\
apiVersion: synapse-apply/v1
kind: Controller
metadata: {name: main}
sources:
  acme:
    url: ./upstream.git
    ref: main
    commit_status:
      github: {repository: acme/synapse, token: {env: STATUS_TOKEN}, api_url: https://git.example/api}
    targets: {"*": {mode: auto}}
access:
  tokens: {ops: {env: OPS_TOKEN}}
  may: [{who: ["token:ops"], do: [read], targets: ["*"]}]
"""


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    made = Upstream(tmp_path)
    made.commit({"synapse-apply.yaml": PROJECT})
    return made


def check(folder: Path, text: str, options: str = "", code: int = 1, **environ: str) -> str:
    (folder / "controller.yaml").write_text(text, encoding="utf-8")
    done = run(f"controller check {options}", folder, {**ENVIRON, **environ}, code)
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("ref: main", f"ref: {'3858818' + 'a' * 33}", "cannot follow a commit"),
        ("ref: main", f"ref: '{'1' * 64}'", "cannot follow a commit"),
        ("ref: main", "ref: HEAD", "Invalid source ref"),
        ("acme/synapse,", "acme/..,", "Invalid repository"),
        ("https://git.example", "http://git.example", "plain http"),
        ("https://git.example", "https://git.example/..", "Invalid URL"),
    ],
)
def test_what_the_file_alone_tells_is_refused_without_secrets_and_network(
    tmp_path, old, new, words
):
    """As a start refuses it, before anything is read or asked."""
    said = check(tmp_path, CONFIGURATION.replace(old, new), STATUS_TOKEN="", OPS_TOKEN="")
    assert words in said
    started = run("controller run --once", tmp_path, ENVIRON, 1)
    assert words in started.stdout + started.stderr


def test_a_pin_may_be_a_commit(tmp_path, upstream):
    commit = upstream.commit({"a": "1"})
    text = CONFIGURATION.replace("ref: main", f"ref: main\n    pin: git:{commit}")
    assert (
        check(tmp_path, text, "--online", 0)
        == "controller.yaml is valid, and all that it names can be reached.\n"
    )


def test_online_asks_all_that_the_file_names(tmp_path, upstream):
    """Valid where a start goes on; nothing is left behind, and no secret is shown."""
    assert (
        check(tmp_path, CONFIGURATION, "--online", 0)
        == "controller.yaml is valid, and all that it names can be reached.\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["controller.yaml", "upstream.git"]
    check(tmp_path, CONFIGURATION, code=0, STATUS_TOKEN="", OPS_TOKEN="")


def test_online_says_all_that_is_wrong_in_one_run(tmp_path, upstream):
    """A missing secret, one that is too short, a branch that is not there, an odd project file."""
    upstream.commit({"synapse-apply.yaml": f"{PROJECT}\tx: 1\n"}, branch="odd")
    sources = CONFIGURATION.replace(
        "sources:\n",
        "sources:\n"
        "  gone: {url: ./upstream.git, ref: gone, targets: {'*': {mode: auto}}}\n"
        "  odd: {url: ./upstream.git, ref: odd, targets: {'*': {mode: auto}}}\n",
    )
    text = (
        f"{sources}store: {{url: {{env: STORE}}}}\nhooks: {{github: {{secret: {{env: HOOK}}}}}}\n"
    )
    said = check(
        tmp_path, text, "--online --json", STATUS_TOKEN="", OPS_TOKEN="short", STORE="mysql://x"
    )
    findings = [
        f"{one['summary']} {one['detail']}" for one in json.loads(said)["diagnostics"]
        if one["severity"] == "error"
    ]  # fmt: skip
    for words in ("variable STATUS_TOKEN", "tokens.ops must have 16", "variable HOOK", "store.url",
                  "no branch or tag is called gone", "a tab is used"):  # fmt: skip
        assert sum(words in finding for finding in findings) == 1, (words, findings)
    assert len(findings) == 6
    assert "short" not in said


def test_online_asks_the_stores_database(tmp_path, upstream, postgres):
    """One that has no store yet is one that the first start makes it in."""
    text = f"{CONFIGURATION}store: {{url: {{env: STORE}}}}\n"
    away = "postgresql://x@127.0.0.1:1/x"
    assert "store cannot be reached" in check(tmp_path, text, "--online", STORE=away)
    empty = postgres.url(schema="checked")
    assert (
        check(tmp_path, text, "--online", 0, STORE=empty)
        == "controller.yaml is valid, and all that it names can be reached.\n"
    )
    assert postgres.run("SELECT to_regnamespace('checked')::text") == [(None,)]


def test_online_reads_the_targets_for_the_rollouts(tmp_path, upstream):
    """What only the project at the head shows: one target in two rollouts."""
    project = PROJECT.replace("token: {env: ACME_TOKEN}}", 'token: {env: ACME_TOKEN}, labels: {a: "1", b: "1"}}')  # fmt: skip
    assert project != PROJECT
    upstream.commit({"synapse-apply.yaml": project})
    waves = ["  one: {waves: [{labels: {a: '1'}}]}", "  two: {waves: [{labels: {b: '1'}}]}"]
    text = f"{CONFIGURATION}rollouts:\n" + "\n".join(waves).replace(
        "{waves", "{source: acme, waves"
    )
    assert "is valid" in check(tmp_path, text, code=0)
    assert "A target is in two rollouts" in check(tmp_path, text, "--online")
