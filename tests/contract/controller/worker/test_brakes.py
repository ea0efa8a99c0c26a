"""What is restored again and again: told once, restored ever more rarely, at a real backend in simulated time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from contract.controller.loop.stand_ins import World
from contract.controller.upstream import read_no_secret
from contract.controller.worker.applying import ENVIRON, ApplySite, build_applied_source, open_site
from git_repositories import git
from in_process import run

from synapse_apply.controller.loop.parts import ConfiguredParts
from synapse_apply.controller.page.metrics import render_metrics
from synapse_apply.controller.planned_rows import HoldReason
from synapse_apply.controller.ports import ActionRefused, LoopHealth, Permit, RunResult
from synapse_apply.controller.rows import (
    RolloutState,
    TargetCondition,
    TargetName,
    TargetProgress,
    TargetRow,
)
from synapse_apply.controller.rules import brakes
from synapse_apply.controller.settings import (
    HOUR,
    MINUTE,
    BrakeHold,
    Mode,
    Rollout,
    TargetRule,
    Wave,
)
from synapse_apply.controller.source.mirror import GitMirror
from synapse_apply.controller.worker.exchange import Order
from synapse_apply.controller.worker.pool import WorkerPool

pytestmark = pytest.mark.usefixtures("forked_workers")

NAME = TargetName("acme", "prod")
AUTO = TargetRule("*", mode=Mode.AUTO, interval=MINUTE)
GIT = "of Git"
PLUGIN = """
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: a}
spec: {name: A, code: a, version: "1.0.0", category: export, description: TEXT}
"""
PLUGIN_V2 = """
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: l}
spec: {name: L, code: l, category: export}
---
apiVersion: synapse-apply/v1
kind: Release
spec: {plugin: l, version: "1.0.0", source: ./l, locked: true}
"""


class SiteOfOnePlugin(ApplySite):
    """A target with one plugin; `writes` counts the calls that changed it."""

    def describe(self) -> str:
        (plugin,) = self._ask_backend("GET", "objects/plugin/")["results"]
        return str(plugin["body"]["description"])

    def edit(self, **fields: Any) -> None:
        """Change the plugin as a person does in the product."""
        (plugin,) = self._ask_backend("GET", "objects/plugin/")["results"]
        self._ask_backend("PATCH", f"objects/plugin/{plugin['id']}/", fields)

    def list_storages(self) -> list[Any]:
        return list(self._ask_backend("GET", "objects/storage/")["results"])

    @property
    def writes(self) -> int:
        counts = self._ask_backend("GET", "requests/")["counts"]
        return sum(
            number
            for at, number in counts.items()
            if at.startswith(("PUT", "PATCH")) and "plugin" in at and "_emulator" not in at
        )


class WorkersInSimulatedTime:
    """A pool whose permits are of the simulated clock."""

    def __init__(self, world: World, pool: WorkerPool) -> None:
        self._world, self._pool = world, pool
        self.is_closed = False
        self.asked: list[str] = []

    def look(self, order: Order) -> RunResult:
        self.asked.append(str(order.target))
        return self._pool.look(order)

    def apply(
        self, order: Order, read_permit: Callable[[], Permit], _tell: object = None
    ) -> RunResult:
        def read_real_permit() -> Permit:
            permit = read_permit()
            until = time.monotonic() + permit.until - self._world.clock.counter
            return permit._replace(until=until)

        return self._pool.apply(order, read_real_permit)

    def stop_applies(self) -> None: ...

    def close(self) -> None: ...


class MirrorBetweenPushes:
    """A mirror that asks Git again only after a push: here a minute takes no time, and each asks anew."""

    def __init__(self, mirror: GitMirror, upstream: Path) -> None:
        self._mirror, self._refs = mirror, upstream / "refs" / "heads"
        self._answers: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._mirror, name)
        if name == "protect_commits":
            return method
        tips = [(ref.name, ref.read_text()) for ref in sorted(self._refs.iterdir())]

        def ask(*arguments: Any) -> Any:
            key = repr((name, arguments, tips))
            if key not in self._answers:
                self._answers[key] = method(*arguments)
            return self._answers[key]

        return ask


class BrakeWorld(World):
    """A controller in simulated time over a site."""

    def __init__(self, site: SiteOfOnePlugin, folder: Path, rule: TargetRule = AUTO) -> None:
        folder.mkdir()
        super().__init__(folder)
        self.site = site
        self.follow(site.mirror)
        self.workers = WorkersInSimulatedTime(self, site.pool)  # type: ignore[assignment]
        source = replace(build_applied_source(site.folder), rules=(rule,))
        self.settings = replace(self.settings, sources={"acme": source})

    def follow(self, mirror: GitMirror) -> None:
        self.mirror = MirrorBetweenPushes(mirror, self.site.upstream.path)

    def configure(self) -> ConfiguredParts:
        mirrors = {"acme": self.mirror}
        return ConfiguredParts(self.settings, mirrors, {"acme": self.forge}, {"inbox": self.inbox})

    def use_rule(self, rule: TargetRule) -> None:
        """Another rule, from a restart on."""
        source = replace(self.settings.sources["acme"], rules=(rule,))
        self.settings = replace(self.settings, sources={"acme": source})
        self.begin()

    @property
    def target(self) -> TargetRow:
        return self.get_target("prod")

    @property
    def rollout_state(self) -> RolloutState:
        (rollout,) = self.store.list_rollouts()
        return rollout.state

    def pass_time(self, seconds: float, step: float = MINUTE) -> None:
        for _ in range(round(seconds / step)):
            self.settle(self.loop, after=step)

    def edit_and_pass(self, minutes: int, description: str = "by hand") -> None:
        """A person edits, every minute."""
        for number in range(minutes):
            self.site.edit(description=f"{description} {number}")
            self.settle(self.loop, after=MINUTE)

    def list_acts(self, *actions: str) -> list[str]:
        return [
            f"{one.action}: {one.detail}"
            for one in self.store.iter_audit()
            if one.action in actions
        ]

    def list_told(self) -> list[str]:
        return [
            one.fields["finding"]["summary"] for one in self.inbox.messages if one.fields["finding"]
        ]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[SiteOfOnePlugin]:
    with open_site(tmp_path, SiteOfOnePlugin) as site:
        site.push({"manifests/plugin.yaml": PLUGIN.replace("TEXT", GIT)})
        site.apply()
        yield site


@pytest.fixture
def world(site: SiteOfOnePlugin, tmp_path: Path) -> Iterator[BrakeWorld]:
    world = BrakeWorld(site, tmp_path / "store")
    with closing(world.store):
        world.begin()
        world.pass_time(MINUTE)
        assert world.target.is_live
        yield world


def test_a_person_who_edits_every_minute_for_an_hour(world, site):
    """Told once, restored at most eight times, and Git's value at the end; over a restart."""
    before = site.writes
    world.edit_and_pass(30)
    assert world.target.restored[0].count == site.writes - before
    world.begin()
    world.edit_and_pass(30)
    restored = site.writes - before
    assert 3 < restored <= 8
    (field,) = world.target.restored
    assert (field.address, field.field, field.count) == ("plugin/a", "description", restored)
    assert (world.target.state, world.target.progress) == (
        TargetCondition.WAITING,
        TargetProgress.DONE,
    )
    reason = world.target.waiting_reason
    assert reason.startswith(
        f"plugin/a: description was restored {restored} times since 1970-01-12 "
    )
    assert "; the brake waits until 1970-01-12 " in reason
    assert world.list_told() == ["description of plugin/a was restored 3 times"]
    # The two before that, and none since.
    assert world.inbox.describe() == ["drift acme/prod"] * 3
    world.pass_time(HOUR, step=10 * MINUTE)
    assert site.describe() == GIT
    assert site.writes - before == restored + 1
    assert world.target.state is TargetCondition.IN_SYNC
    applied = [one for one in world.list_acts("apply") if "applied, 1 done" in one]
    assert len(applied) == restored + 1
    assert world.list_acts("brake") == ["brake: description of plugin/a"]
    assert len(world.inbox.messages) == 3


@pytest.mark.parametrize(
    ("figures", "restored"),
    [
        ("after: 1, at_most_every: 8h", (2, 4)),
        # What the operator wrote is the least.
        ("after: 20, within: 1m, at_most_every: 1m", (4, 8)),
    ],
)
def test_figures_of_the_policy_only_make_it_stricter(world, site, figures, restored):
    """As of the commit that has them; in an hour, over a restart, and looks that find nothing."""
    site.push({"synapse-apply.yaml": f"{site.project}policy: {{brake: {{{figures}}}}}\n"})
    world.pass_time(2 * MINUTE)
    before, (least, most) = site.writes, restored
    world.edit_and_pass(30)
    assert site.writes > before
    world.begin()
    world.edit_and_pass(30)
    assert least <= site.writes - before <= most
    (field,) = world.target.restored
    assert field.count == site.writes - before
    assert world.list_told() == [
        f"description of plugin/a was restored {1 if most == 4 else 3} time{'s' * (most > 4)}"
    ]
    world.pass_time(9 * HOUR, step=10 * MINUTE)
    assert (site.describe(), world.target.state) == (GIT, TargetCondition.IN_SYNC)


def test_a_change_in_git_never_waits(world, site):
    world.edit_and_pass(4)
    assert world.target.state is TargetCondition.WAITING
    site.push({"manifests/plugin.yaml": PLUGIN.replace("TEXT", "newer")})
    world.pass_time(2 * MINUTE)
    assert site.describe() == "newer"
    assert world.target.state is TargetCondition.IN_SYNC


def test_a_target_of_a_rollout_has_its_brake(world, site):
    """A new revision passes it at once; drift begins the soak anew, and the wave ends when it ends."""
    wave = Wave(soak=10 * MINUTE)
    world.set_rollouts(Rollout("all", "acme", (wave, replace(wave, targets=("none-*",)))))
    world.begin()
    site.push({"manifests/plugin.yaml": PLUGIN.replace("TEXT", "newer")})
    world.pass_time(2 * MINUTE)
    assert (site.describe(), world.rollout_state) == ("newer", RolloutState.RUNNING)
    before = site.writes
    world.edit_and_pass(4)
    assert (site.writes - before, world.target.state) == (3, TargetCondition.WAITING)
    assert world.list_told() == ["description of plugin/a was restored 3 times"]
    site.push({"manifests/plugin.yaml": PLUGIN.replace("TEXT", "newest")})
    world.pass_time(2 * MINUTE)
    # The first wait ends meanwhile: a look that began before the fetch may restore once more.
    assert site.describe() == "newest"
    assert site.writes - before in (4, 5)
    before = site.writes
    world.edit_and_pass(60)
    assert site.writes - before <= 5
    assert world.rollout_state is RolloutState.RUNNING
    world.pass_time(HOUR + 10 * MINUTE, step=10 * MINUTE)
    world.pass_time(12 * MINUTE)
    assert (site.describe(), world.rollout_state) == ("newest", RolloutState.DONE)


def test_a_target_that_is_rolled_back_has_its_brake(world, site):
    """What is restored is the earlier revision; the rollback itself and its end never wait."""
    first = site.commit
    site.push({"manifests/plugin.yaml": PLUGIN.replace("TEXT", "newer")})
    world.pass_time(2 * MINUTE)
    world.edit_and_pass(4)
    assert world.target.state is TargetCondition.WAITING
    people = world.loop.get_people_actions()
    ask = ("proxy:ann", NAME, first)
    while not (planned := people.roll_back_or_refuse(*ask, "", "4711")) or not planned.digest:
        world.settle(world.loop)
    people.roll_back_or_refuse(*ask, planned.digest, "4711")
    world.settle(world.loop)
    before = site.writes
    assert (site.describe(), world.target.state) == (GIT, TargetCondition.ROLLED_BACK)
    world.edit_and_pass(60)
    assert 0 < site.writes - before <= 8
    world.pass_time(HOUR, step=10 * MINUTE)
    assert (site.describe(), world.target.state) == (GIT, TargetCondition.ROLLED_BACK)
    site.edit(description="by hand")
    world.resume("proxy:ann", str(NAME))
    world.pass_time(2 * MINUTE)
    assert (site.describe(), world.target.state) == ("newer", TargetCondition.IN_SYNC)


def test_a_person_lets_it_go_on(world, site):
    """And it counts anew; there is nothing to resume before and after."""
    world.edit_and_pass(4)
    site.edit(description="by hand")
    world.resume("proxy:ann", "acme/*")
    assert world.target.restored == ()
    world.settle(world.loop)
    assert (site.describe(), world.target.restored[0].count) == (GIT, 1)
    assert world.list_acts("resume") == ["resume: description of plugin/a"]
    with pytest.raises(ActionRefused):
        world.resume("proxy:ann", "acme/*")


def test_a_person_takes_the_value(world, site):
    """Accepted in the state, it is no drift: nothing waits."""
    world.edit_and_pass(4)
    site.edit(description="ours now")
    git(site.checkout, "pull", "-q")
    run("state accept plugin/a -t prod --auto-approve", site.checkout, site.given)
    world.pass_time(HOUR, step=HOUR / 2)
    assert (site.describe(), world.target.state) == ("ours now", TargetCondition.IN_SYNC)


@pytest.mark.parametrize(
    "hold", [BrakeHold(), BrakeHold("plugin"), BrakeHold(field="description")], ids=str
)
def test_hold_holds_until_a_person_acts(world, site, hold):
    """Longer than the times count; an approval of the row lets it go on."""
    world.use_rule(replace(AUTO, brake_holds=(BrakeHold("storage"), hold)))
    before = site.writes
    world.edit_and_pass(4)
    world.pass_time(30 * HOUR, step=10 * HOUR)
    assert site.writes - before == 3
    (hold_row,) = world.store.list_holds(NAME)
    assert hold_row.held_row.reason is HoldReason.BRAKE
    assert "description was restored 3 times" in hold_row.held_row.detail
    world.approve("proxy:ann", hold_row.row_digest)
    world.settle(world.loop)
    assert site.describe() == GIT


def test_a_held_field_beside_too_many_to_name(world, site):
    """Someone changes 60 keys of the object with it, each minute."""
    keys = {f"k{number}": GIT for number in range(60)}
    declared = PLUGIN.replace("TEXT}", f"{GIT}, configuration: {json.dumps(keys)}}}")
    site.push({"manifests/plugin.yaml": declared})
    world.pass_time(2 * MINUTE)
    world.use_rule(replace(AUTO, brake_holds=(BrakeHold("plugin", "description"),)))
    before = site.writes
    for number in range(6):
        site.edit(description=f"by hand {number}", configuration=dict.fromkeys(keys, f"{number}"))
        world.settle(world.loop, after=MINUTE)
    assert site.writes - before == 3
    (field,) = world.target.restored
    assert (field.name, field.count, field.is_held) == ("plugin/a", 3, True)
    assert world.list_told() == ["plugin/a was restored 3 times"]
    (hold_row,) = world.store.list_holds(NAME)
    assert hold_row.held_row.reason is HoldReason.BRAKE


def test_what_counts_with_others_is_told_once_and_let_go(world, site, monkeypatch):
    """A field that found no place: told once, held while it waits, and no longer once it is in sync."""
    monkeypatch.setattr(brakes, "_MAX_FIELDS", 0)
    world.edit_and_pass(20)
    told = ["another field was restored 3 times"]
    assert world.list_told() == told
    assert world.inbox.describe() == ["drift acme/prod"] * 3
    world.use_rule(replace(AUTO, brake_holds=(BrakeHold(),)))
    site.edit(description="by hand")
    world.pass_time(2 * MINUTE)
    assert world.target.state is TargetCondition.HELD
    site.edit(description=GIT)
    world.pass_time(2 * MINUTE)
    assert world.target.state is TargetCondition.IN_SYNC
    world.pass_time(30 * HOUR, step=10 * HOUR)
    site.edit(name="Another")
    world.pass_time(2 * MINUTE)
    assert world.target.state is TargetCondition.IN_SYNC


def test_metrics_have_the_fields(world, site):
    health = LoopHealth(0.0, 1.0)
    line = 'synapse_apply_braked_fields{source="acme"} %s'
    assert line % "0.0" in render_metrics(world.store, health).decode()
    world.edit_and_pass(5)
    assert line % "1.0" in render_metrics(world.store, health).decode()


def test_fields_are_counted_each(world, site):
    """A field that others leave alone is restored at once, whatever waits beside it."""
    world.edit_and_pass(4)
    assert site.describe() != GIT
    site.edit(name="Another")
    world.pass_time(MINUTE)
    (plugin,) = site._ask_backend("GET", "objects/plugin/")["results"]
    assert (plugin["body"]["name"], plugin["body"]["description"]) == ("A", GIT)


def test_an_object_that_is_deleted_again_and_again(world, site):
    for _ in range(12):
        if site.list_storages():
            site.delete_one_storage_by_hand()
        world.pass_time(MINUTE)
    (field,) = world.target.restored
    assert (field.field, field.address, field.name) == ("", "storage/s0", "storage/s0")
    assert field.count < 7


def test_what_the_policy_names_is_restored_each_time(world, site):
    """Told once all the same; also with `brake: hold`, and as often as somebody changes it."""
    world.use_rule(replace(AUTO, brake_holds=(BrakeHold(),)))
    rule = "{rule: allowed-categories, values: [export]}"
    policy = f"    policy: {{rules: [{rule}]}}\n"
    site.push({"synapse-apply.yaml": site.project + policy})
    world.pass_time(2 * MINUTE)
    before = site.writes
    for _ in range(6):
        site.edit(category="neural_net")
        world.pass_time(MINUTE)
    assert site.writes - before == 6
    (field,) = world.target.restored
    assert (field.field, field.count) == ("category", 6)
    assert (field.is_always, field.is_braked) == (True, False)
    assert world.list_told() == ["category of plugin/a was restored 3 times"]
    assert world.inbox.describe() == ["drift acme/prod"] * 3


def test_a_lock_is_restored_each_time(world, site):
    """Also with `brake: hold`."""
    world.use_rule(replace(AUTO, brake_holds=(BrakeHold(),)))
    config = "name: L\ncode: l\ncategory: export\ndata_type: image\n"
    site.push({
        "synapse-apply.yaml": site.project + "    api: v2\n",
        "manifests/plugin.yaml": PLUGIN_V2,
        "l/config.yaml": config,
        "l/main.py": "",
    })  # fmt: skip
    world.pass_time(3 * MINUTE)
    for _ in range(6):
        (release,) = site._ask_backend("GET", "objects/release/")["results"]
        assert release["body"]["is_released"]
        site._ask_backend("PATCH", f"objects/release/{release['id']}/", {"is_released": False})
        world.pass_time(MINUTE)
    (release,) = site._ask_backend("GET", "objects/release/")["results"]
    assert release["body"]["is_released"]
    (field,) = world.target.restored
    assert (field.name, field.count) == ("locked of release/l@1.0.0", 6)
    assert (field.is_always, field.is_braked) == (True, False)
    assert world.list_told() == ["locked of release/l@1.0.0 was restored 3 times"]


def test_a_laptop_that_applies_beside_it(world, site):
    """Another checkout sets the same field through the same state: the state says who."""
    git(site.checkout, "pull", "-q")
    (site.checkout / "manifests" / "plugin.yaml").write_text(PLUGIN.replace("TEXT", "of a laptop"))
    before = len(world.list_acts("begin apply"))
    for _ in range(12):
        run("apply -t prod --auto-approve", site.checkout, site.given)
        world.pass_time(MINUTE)
    assert 3 < len(world.list_acts("begin apply")) - before <= 6
    (field,) = world.target.restored
    assert "@" in field.by
    assert f"{field.by} changes it, too" in world.target.waiting_reason
    assert world.target.progress is TargetProgress.DONE
    assert world.list_told() == ["description of plugin/a was restored 3 times"]
    world.pass_time(HOUR, step=HOUR / 2)
    assert site.describe() == GIT


def test_two_controllers_that_follow_two_branches(world, site, tmp_path):
    """Each slows down by itself, and names the other."""
    site.upstream.commit(
        {"manifests/plugin.yaml": PLUGIN.replace("TEXT", "of the others")},
        branch="others",
        parent=site.commit,
    )
    other = BrakeWorld(site, tmp_path / "other-store")
    source = replace(other.settings.sources["acme"], ref="others")
    other.settings = replace(other.settings, name="others", sources={"acme": source})
    other.follow(GitMirror(source, tmp_path / "other-data", read_no_secret))
    pool = WorkerPool(other.settings, tmp_path / "other-data", ENVIRON)
    other.workers = WorkersInSimulatedTime(other, pool)
    with closing(other.store), closing(pool):
        other.begin()
        for _ in range(15):
            other.pass_time(MINUTE)
            world.pass_time(MINUTE)
        for one, by in ((world, "controller:others"), (other, "controller:main")):
            (field,) = one.target.restored
            assert 3 <= field.count <= 6
            assert field.by == by
            assert one.list_told() == ["description of plugin/a was restored 3 times"]
