"""One object, one owner: two sources that declare one plugin, each with a state of its own."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from contract.controller.upstream import Upstream
from controllers.forked_workers import fork_workers
from forges.loopback_server import wait_until
from git_repositories import git
from in_process import run, run_in_process
from installed import environment

from synapse_apply import EmbeddedServer
from synapse_apply.controller.loop import working
from synapse_apply.controller.loop.clock import CorrectedClock
from synapse_apply.controller.rows import OwnerRow, TargetName
from synapse_apply.controller.store.controller_store import ControllerStore

TOKEN = "token-of-acme-1234567890"
PLUGIN = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: detection}
spec: {name: Detection, code: detection, version: "1.0.0", category: export, description: TEXT}
"""
RELEASE = """\
---
apiVersion: synapse-apply/v1
kind: Release
spec: {plugin: detection, version: "1.0.0", source: ./p}
"""
CONFIG = 'name: Detection\ncode: detection\nversion: "1.0.0"\ncategory: export\n'
EXTERNAL = PLUGIN.replace("spec:", "lifecycle: {external: true}\nspec:")
OWN = """\
---
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: NAME}
spec: {name: NAME, provider: file_system, category: external, configuration: {location: /data}}
"""
SOURCE = """
  NAME:
    url: ./NAME/upstream.git
    may_read: {env: ["ACME_*"], files: [states/]}
    hosts: [127.0.0.1]
    poll: 1s
    targets: {"*": {mode: auto, interval: 1s}}
"""
SOURCES = ("first", "second")


class Site:
    """A backend, and two sources with a target `prod` each; `first` is followed first."""

    def __init__(self, folder: Path, backend: EmbeddedServer) -> None:
        self.folder, self.backend = folder, backend
        self.environ = {"ACME_TOKEN": TOKEN}
        (folder / "states").mkdir()
        self.upstreams = {}
        for name in SOURCES:
            (folder / name).mkdir()
            self.upstreams[name] = Upstream(folder / name)
            self.commit(name, PLUGIN.replace("TEXT", f"of {name}"))
            checkout = folder / f"checkout-{name}"
            git(folder, "clone", "-q", str(self.upstreams[name].path), str(checkout))
            run("state init -t prod", checkout, self.environ)
        self.follow_only(*SOURCES)

    def commit(self, source: str, manifest: str, settings: str = "", **files: str) -> None:
        """What a source declares, beside a storage of its own; `settings` of its target."""
        state = f'{{url: "{self.folder}/states/{source}.db"}}{settings}'
        target = f'{{url: "{self.backend.url}", token: {{env: ACME_TOKEN}}, state: {state}}}'
        project = "apiVersion: synapse-apply/v1\nkind: Project\nmanifests: [manifests/]\n"
        project += f"targets: {{prod: {target}}}\n"
        files |= {"synapse-apply.yaml": project, "manifests/a.yaml": manifest}
        files["manifests/b.yaml"] = OWN.removeprefix("---\n").replace("NAME", f"own-{source}")
        self.upstreams[source].commit(files)

    def follow_only(self, *sources: str, **modes: str) -> None:
        """`modes` are those of sources that are not in mode auto."""
        blocks = "".join(
            SOURCE.replace("NAME", name).replace("auto", modes.get(name, "auto"))
            for name in sources
        )
        text = (
            "apiVersion: synapse-apply/v1\nkind: Controller\nmetadata: {name: main}\n"
            f"sources:{blocks}defaults: {{interval: 1s, jitter: 0, retry: {{first: 1s, most: 1s}}}}\n"
            "listen: 127.0.0.1:0\n"
        )
        (self.folder / "controller.yaml").write_text(text, encoding="utf-8")

    def follow(self) -> dict[str, str]:
        """A start of a controller; what it says of each target."""
        done = run_in_process(
            ["controller", "run", "--once"], self.folder, environment(self.environ)
        )
        self.said = done.stdout + done.stderr
        rows = re.findall(r"^(\w+(?: \w+)*)  +(\w+)/prod +.*?Z *(.*)$", self.said, re.MULTILINE)
        return {source: state for state, source, _ in rows}

    def follow_until(self, description: str, **states: str) -> None:
        """Starts until the plugin is described so and the targets are so: checks come by interval."""
        wait_until(
            lambda: self.follow() == states and self.describe() == [description],
            60,
            f"{description} and {states}, not {self.said}",
        )

    def read_refusals(self, source: str) -> list[dict[str, Any]]:
        """The refusals of a source's newest plan, as the store keeps it for the page."""
        (file,) = self.folder.rglob("controller.db")
        with closing(sqlite3.connect(file)) as store:
            statement = "SELECT plan_json FROM runs WHERE source = ? ORDER BY id DESC LIMIT 1"
            ((plan,),) = store.execute(statement, [source]).fetchall()
        changes = json.loads(plan)["changes"]
        return [refusal for change in changes for refusal in change.get("refusals", ())]

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Token {TOKEN}"}
        answer = requests.request(
            method, f"{self.backend.url}/_emulator/{path}", json=body, headers=headers, timeout=60
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def describe(self) -> list[str]:
        """The descriptions of the plugins that are live."""
        return [row["body"]["description"] for row in self.ask("GET", "objects/plugin/")["results"]]

    def list_storages(self) -> list[str]:
        return sorted(row["body"]["name"] for row in self.ask("GET", "objects/storage/")["results"])

    def count_writes(self) -> int:
        """The mutating requests of the plugin so far."""
        counts = self.ask("GET", "requests/")["counts"]
        return sum(
            number
            for at, number in counts.items()
            if not at.startswith("GET") and "plugin" in at and "_emulator" not in at
        )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A backend that lists plugins, so that the second source finds that of the first one."""
    fork_workers(monkeypatch)
    with EmbeddedServer(
        tmp_path / "backend", token=TOKEN, switches={"plugin_list": "list"}
    ) as backend:
        yield Site(tmp_path, backend)


def other(source: str) -> str:
    return "second" if source == "first" else "first"


def test_two_sources_in_auto(site: Site) -> None:
    """Both begin at once: one is the owner from the first look on, over restarts, with one create."""
    site.follow()
    (description,) = site.describe()
    owner = description.removeprefix("of ")
    assert f"target={other(owner)}/prod owners={owner}/prod objects=plugin/detection" in site.said
    for _ in range(4):
        assert site.follow() == {owner: "in sync", other(owner): "refused"}, site.said
    assert site.describe() == [description]
    assert site.count_writes() == 1
    # What is not contested is applied in both.
    assert site.list_storages() == ["own-first", "own-second"]


def test_the_second_one_is_refused_and_handed_over_to(site: Site) -> None:
    """The row names both; what Git says there is not done until the first one lets go."""
    site.follow_only("first")
    assert site.follow() == {"first": "in sync"}
    site.follow_only(*SOURCES)
    assert site.follow() == {"first": "in sync", "second": "refused"}
    (refusal,) = site.read_refusals("second")
    assert refusal["rule"] == "owner"
    assert refusal["reason"] == ("first/prod already manages this object, so second/prod does not")
    assert refusal["ways_out"] == [
        "leave it to first/prod: declare it here with lifecycle: {external: true}",
        "take it over: declare it external for first/prod, and apply there first",
    ]
    writes = site.count_writes()
    site.commit("second", PLUGIN.replace("TEXT", "of second again"))
    assert site.follow()["second"] == "refused", site.said
    assert (site.describe(), site.count_writes()) == (["of first"], writes)
    # Somebody changes it outside: its owner puts it back, the other one does not touch it.
    (plugin,) = site.ask("GET", "objects/plugin/")["results"]
    site.ask("PATCH", f"objects/plugin/{plugin['id']}/", {"description": "by hand"})
    site.follow_until("of first", first="in sync", second="refused")
    site.commit("first", EXTERNAL)
    site.follow_until("of second again", first="in sync", second="in sync")


def test_it_may_be_left_to_its_owner(site: Site) -> None:
    """The way out in the second source: external, and nothing is refused any more."""
    site.follow_only("first")
    site.follow()
    site.follow_only(*SOURCES)
    site.commit("second", EXTERNAL)
    assert site.follow() == {"first": "in sync", "second": "in sync"}, site.said
    assert site.describe() == ["of first"]


def test_a_source_that_is_taken_out_owns_nothing(site: Site) -> None:
    """Its targets are followed no more, so that another one may manage their objects."""
    site.follow_only("first")
    site.follow()
    site.follow_only("second")
    site.follow_until("of second", second="in sync")


def test_both_recorded_it_before(site: Site) -> None:
    """As two states may have from before this version: the first that is checked keeps it."""
    for name in SOURCES:
        checkout = site.folder / f"checkout-{name}"
        run("apply -t prod --auto-approve --adopt", checkout, site.environ)
    site.follow()
    owners = [name for name, state in site.follow().items() if state == "in sync"]
    assert len(owners) == 1, site.said
    writes = site.count_writes()
    for _ in range(3):
        assert site.follow()[other(owners[0])] == "refused"
    assert site.count_writes() == writes
    assert site.describe() == [f"of {owners[0]}"]


@pytest.mark.parametrize("behind", [0.0, 100.0])
def test_of_two_that_are_checked_at_once_one_is_the_owner(
    site: Site, monkeypatch: pytest.MonkeyPatch, behind: float
) -> None:
    """One is about to write what it manages while the other, which looked later, writes first.

    Also where the clock of the one is behind.
    """
    begun, written = threading.Event(), threading.Event()
    list_owned, settle_owners = ControllerStore.list_owned, working.settle_owners
    read_wall, late = CorrectedClock.read_wall, set[int]()

    def list_owned_and_wait(store: ControllerStore, name: TargetName) -> Sequence[OwnerRow]:
        known = list_owned(store, name)
        if not begun.is_set():
            begun.set()
            assert written.wait(60)
            late.add(threading.get_ident())
        return known

    def settle_and_tell(*given: Any) -> Any:
        settled = settle_owners(*given)
        written.set()
        late.discard(threading.get_ident())
        return settled

    def read_wall_late(clock: CorrectedClock) -> float:
        return read_wall(clock) - behind * (threading.get_ident() in late)

    monkeypatch.setattr(CorrectedClock, "read_wall", read_wall_late)
    monkeypatch.setattr(ControllerStore, "list_owned", list_owned_and_wait)
    monkeypatch.setattr(working, "settle_owners", settle_and_tell)
    states = site.follow()
    owners = [name for name, state in states.items() if state == "in sync"]
    assert len(owners) == 1, site.said
    assert states[other(owners[0])] == "refused"
    assert site.describe() == [f"of {owners[0]}"]


@pytest.mark.parametrize("named", SOURCES)
def test_a_target_without_a_tenant_is_of_the_tenant_of_its_token(site: Site, named: str) -> None:
    """Whichever of the two says the tenant: both have the token of one variable."""
    site.commit(named, PLUGIN.replace("TEXT", f"of {named}"), ", tenant: default")
    checkout = site.folder / f"checkout-{named}"
    git(checkout, "pull", "-q", "origin", "main")
    (site.folder / "states" / f"{named}.db").unlink()
    run("state init -t prod", checkout, site.environ)
    site.follow_only("first")
    assert site.follow() == {"first": "in sync"}, site.said
    site.follow_only(*SOURCES)
    assert site.follow() == {"first": "in sync", "second": "refused"}, site.said
    assert site.describe() == ["of first"]


@pytest.mark.parametrize("owner", SOURCES)
def test_whose_state_records_it_keeps_it_after_the_loss_of_the_data_folder(
    site: Site, owner: str
) -> None:
    """Whichever is checked first: what is adopted waits for the first check of the others."""
    site.follow_only(owner)
    site.follow()
    site.follow_only(*SOURCES)
    shutil.rmtree(next(site.folder.rglob("controller.db")).parent)
    site.follow_until(f"of {owner}", **{owner: "in sync", other(owner): "refused"})
    assert site.describe() == [f"of {owner}"]


def test_a_plan_alone_owns_nothing(site: Site) -> None:
    """A target that is only observed, or whose rows wait for approval, blocks nobody's object."""
    for mode in ("observe", "approve"):
        site.follow_only("second", second=mode)
        site.follow()
    assert site.describe() == []
    site.follow_only(*SOURCES, second="approve")
    site.follow_until("of first", first="in sync", second="refused")


@pytest.mark.parametrize("part", ["plugin", "release"])
def test_one_object_in_two_versions_of_the_api_has_one_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """Whether or not ids are shared: a plugin is known by its code, a release by its version, too."""
    fork_workers(monkeypatch)
    switches = {"plugin_list": "list", **({"v2_ids": "own"} if part == "plugin" else {})}
    with EmbeddedServer(tmp_path / "backend", token=TOKEN, switches=switches) as backend:
        site = Site(tmp_path, backend)
        for source, api in zip(SOURCES, ("v1", "v2"), strict=True):
            files = {
                "p/config.yaml": CONFIG,
                "p/plugin/main.py": f"print('of {source}')\n",
            }
            plugin = PLUGIN if (source, part) != ("second", "release") else EXTERNAL
            plugin = plugin.replace('version: "1.0.0", ', "").replace("TEXT", f"of {source}")
            site.commit(source, plugin + RELEASE, f", api: {api}", **files)
        site.follow_only("first")
        assert site.follow() == {"first": "in sync"}, site.said
        writes = site.count_writes()
        site.follow_only(*SOURCES)
        site.follow()
        reasons = {one["reason"] for one in site.read_refusals("second")}
        assert {one[:18] for one in reasons} == {"first/prod already"}, site.said
        assert site.describe() == ["of first"]
        assert site.count_writes() == writes
