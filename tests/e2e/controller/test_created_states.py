"""`create_state`: a row in a list is enough, and a state is never made where one was before."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import requests
from contract.controller.upstream import Upstream, storage
from controllers.forked_workers import fork_workers
from forges.loopback_server import wait_until
from git_repositories import git
from in_process import run, run_in_process
from installed import environment

from synapse_apply import EmbeddedServer

SECRETS = {"ACME_TOKEN": "token-of-acme-1234567890", "ACME_KEY": "key-of-acme-1234567890"}
CONTROLLER = """\
apiVersion: synapse-apply/v1
kind: Controller
metadata: {name: main}
sources:
  acme:
    url: ./upstream.git
    may_read: {env: ["ACME_*"], files: [states/]}
    hosts: [127.0.0.1]
    poll: 1s
    targets: {"*": RULE}
defaults: {interval: 1s, jitter: 0, retry: {first: 1s, most: 1s}}
listen: 127.0.0.1:0
"""
AUTO = "{mode: auto, create_state: true}"
NO_STATE = "There is no state for this target"


class Site:
    """Backends by the names of targets, a repository with a list of them, a folder of states."""

    def __init__(self, folder: Path, backends: dict[str, EmbeddedServer]) -> None:
        self.folder, self.backends, self.states = folder, backends, folder / "states"
        self.states.mkdir()
        self.upstream = Upstream(folder)

    def configure(self, rule: str = AUTO, more: str = "") -> None:
        text = CONTROLLER.replace("RULE", rule) + more
        (self.folder / "controller.yaml").write_text(text, encoding="utf-8")

    def commit(self, *names: str, state: str | None = None) -> None:
        """Declare a target for each of these names, all from one template."""
        if state is None:
            state = f"    state: {{url: '{self.states}/${{row.name}}.db'}}\n"
        project = f"""
apiVersion: synapse-apply/v1
kind: Project
project: {{id: 5f1c2d60-0000-4000-8000-0123456789ab}}
targets_from:
  file: tenants.yaml
  template:
    url: "${{row.url}}"
    token: {{env: ACME_TOKEN}}
{state}
"""
        rows = "".join(f"- {{name: {one}, url: '{self.backends[one].url}'}}\n" for one in names)
        files = {"synapse-apply.yaml": project, "tenants.yaml": rows}
        self.upstream.commit({**files, "manifests/a.yaml": storage("a")})

    def follow(self, code: int = 0, **more: str) -> str:
        """One round of a controller; `more` are variables."""
        done = run("controller run --once", self.folder, {**SECRETS, **more}, code)
        return done.stdout + done.stderr

    def conditions(self) -> dict[str, str]:
        said = run("controller status --json", self.folder, SECRETS).stdout
        return {one["name"]: one["state"] for one in json.loads(said)["items"]}

    def audit(self, action: str) -> list[str]:
        said = run("controller audit --json", self.folder, SECRETS).stdout
        rows = json.loads(said)["items"]
        return sorted(row["subject"] for row in rows if row["action"] == action)

    def checkout(self) -> Path:
        folder = self.folder / "checkout"
        if not folder.exists():
            git(self.folder, "clone", "-q", str(self.upstream.path), str(folder))
        return folder

    def list_states(self) -> list[str]:
        return sorted(path.stem for path in self.states.glob("*.db"))

    def count_objects(self, name: str) -> int:
        url = f"{self.backends[name].url}/_emulator/objects/storage/"
        headers = {"Authorization": f"Token {SECRETS['ACME_TOKEN']}"}
        return len(requests.get(url, headers=headers, timeout=60).json()["results"])


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    fork_workers(monkeypatch)
    token = SECRETS["ACME_TOKEN"]
    with (
        EmbeddedServer(tmp_path / "of-one", token=token) as one,
        EmbeddedServer(tmp_path / "of-two", token=token) as two,
    ):
        yield Site(tmp_path, {"one": one, "two": two})


def test_a_row_in_the_list_is_enough(site):
    """Its state is created, bound and audited, and its objects too; the others keep theirs."""
    site.configure()
    site.commit("one")
    site.follow()
    lineage = run("state show -t one --json", site.checkout(), SECRETS).stdout
    assert site.audit("create state") == site.audit("bind") == ["acme/one"]
    site.commit("one", "two")
    site.follow()
    assert site.conditions() == {"acme/one": "in sync", "acme/two": "in sync"}
    assert site.list_states() == ["one", "two"]
    assert site.audit("create state") == ["acme/one", "acme/two"]
    assert [site.count_objects(name) for name in ("one", "two")] == [1, 1]
    assert run("state show -t one --json", site.checkout(), SECRETS).stdout == lineage


@pytest.mark.parametrize("change", ["deleted", "moved"])
def test_a_state_that_was_there_is_not_created_again(site, change):
    """It would know no object: a person says where it is, or creates it."""
    site.configure()
    site.commit("one")
    site.follow()
    if change == "deleted":
        for path in site.states.iterdir():
            path.unlink()
    else:
        site.commit("one", state=f"    state: {{url: {site.states}/moved.db}}\n")
    time.sleep(1.1)  # a check is due a second after the last one
    assert NO_STATE in site.follow(1)
    assert site.conditions() == {"acme/one": "failing"}
    assert site.list_states() == ([] if change == "deleted" else ["one"])
    assert site.audit("create state") == ["acme/one"]
    assert site.count_objects("one") == 1


@pytest.mark.parametrize(
    "rule",
    [
        "{mode: auto}",
        "{mode: observe, create_state: true}",
        "{mode: auto, create_state: true, paused: {reason: not yet}}",
        "{mode: auto, create_state: true, windows: [{cron: '0 0 29 2 *', duration: 1m}]}",
    ],
)
def test_nothing_is_created_where_nothing_may_be_applied(site, rule):
    """Once it may be, the state is created."""
    site.configure(rule)
    site.commit("one")
    assert NO_STATE in site.follow(1)
    assert site.list_states() == []
    said = run("controller check", site.folder, SECRETS).stderr
    assert ("`create_state` has no effect in this mode" in said) is ("observe" in rule)
    site.configure()
    time.sleep(1.1)
    site.follow()
    assert site.list_states() == ["one"]
    assert site.conditions() == {"acme/one": "in sync"}


def test_rows_wait_for_approval_in_a_state_that_was_just_created(site):
    site.configure("{mode: approve, create_state: true}")
    site.commit("one")
    site.follow()
    assert site.conditions() == {"acme/one": "held"}
    assert site.list_states() == ["one"]
    assert site.count_objects("one") == 0


def test_no_state_is_created_in_a_checkout(site):
    """The controller has none: such a file would be gone, or be seen by nobody else."""
    site.configure()
    site.commit("one", state="")
    assert NO_STATE in site.follow(1)
    said = run("controller status --json", site.folder, SECRETS).stdout
    assert "is a file in the checkout of the person who applies" in said
    assert site.audit("create state") == []
    assert not list(site.folder.rglob("one.db"))


def test_a_shared_state_is_created_with_its_key_alone(site, postgres):
    """A key that one machine makes up for itself would be of no use to the others."""
    url = postgres.url(schema=f"state_{uuid4().hex}")
    site.configure()
    site.commit("one", state="    state: {url: {env: ACME_STATE}, key: {env: ACME_STATE_KEY}}\n")
    said = site.follow(1, ACME_STATE=url)
    assert "ACME_STATE_KEY" in run("controller status --json", site.folder, SECRETS).stdout, said
    assert site.audit("create state") == []
    time.sleep(1.1)
    site.follow(ACME_STATE=url, ACME_STATE_KEY="A" * 43 + "=")
    assert site.conditions() == {"acme/one": "in sync"}
    assert site.audit("create state") == ["acme/one"]


def test_a_new_target_does_not_stop_a_wave(site):
    """Its wave goes on to it, and the next one after it."""
    waves = "[{targets: [one]}, {targets: [two]}]"
    site.configure(more=f"rollouts: {{all: {{source: acme, waves: {waves}}}}}\n")
    site.commit("two")
    follow_until(site, {"acme/two": "in sync"})
    site.commit("one", "two")
    follow_until(site, {"acme/one": "in sync", "acme/two": "in sync"})
    assert site.list_states() == ["one", "two"]
    said = run("controller status --json", site.folder, SECRETS).stdout
    assert len({one["wanted_commit"] for one in json.loads(said)["items"]}) == 1


def follow_until(site: Site, conditions: dict[str, str]) -> None:
    """Rounds until the targets are so."""

    def is_so() -> bool:
        run_in_process(["controller", "run", "--once"], site.folder, environment(SECRETS))
        return site.conditions() == conditions

    wait_until(is_so, 60, f"{conditions}")
