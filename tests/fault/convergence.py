"""From whatever a fault or a kill left behind to a project with nothing left to do."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest
from fault.site import APIS, LATER, Ahead, Applied, Site, pending, tally_of
from in_process import run_command
from installed import environment as environment_of
from profiles import PAGE, PROFILE, VENDOR

from synapse_apply import Plan, Report
from synapse_apply.cli import observer
from synapse_apply.cli.console import Console
from synapse_apply.cli.observer import build_wait_callback
from synapse_apply.model.plan import Action
from synapse_apply.model.report import Result
from synapse_apply.stores.database import read_seconds_since_boot
from synapse_apply.workspace import environment, target_session

STORES = ("sqlite", "postgres", "s3")
# The vendor's v1 is what production meets: a share of it is tried whatever the profile of all is.
PROFILES = tuple(dict.fromkeys((PROFILE, VENDOR)))
DEEP = os.environ.get("SYNAPSE_APPLY_TEST_DEEP") == "1"
# What a bucket adds is tried once at each kind of boundary, on the vendor's profile; all with DEEP.
_LEFT_OUT = () if DEEP else (("postgres", "v2"), ("s3", "v1"), ("s3", "v2"))
STORES_AND_APIS = [
    (store, api) for api in APIS for store in STORES if (store, api) not in _LEFT_OUT
]
PLACES = [(store, api, PROFILE) for store, api in STORES_AND_APIS]
PLACES += [
    (store, api, profile)
    for profile in PROFILES[1:]
    for store in STORES
    for api in APIS
    if DEEP or (store, api) in {("sqlite", "v1"), ("s3", "v1")}
]
_COMMAND = re.compile(r"`synapse-apply ([^`]+)`")


@dataclass
class Row:
    """A line of the table: what was tried and what came of it."""

    what: str
    boundaries: int = 0
    duplicates: int = 0
    losses: int = 0
    unknowns: int = 0
    runs: int = 0

    def add(self, runs: int, unknowns: int) -> None:
        self.boundaries += 1
        self.unknowns += unknowns
        self.runs = max(self.runs, runs)

    @property
    def cells(self) -> list[str | int]:
        return [
            self.what, self.boundaries, self.duplicates, self.losses, self.unknowns, self.runs,
        ]  # fmt: skip


def converge(site: Site, first: Applied | None, row: Row) -> None:
    """At most one more apply, the printed commands where nobody can know, and all is as declared.

    `first` is None when its process was killed. `row` gets what was found, before it is asserted.
    """
    in_flight = {str(address) for address in site.open_intents()}
    site.server.faults()
    runs, unknowns = 1, 0
    is_planned_empty = first is not None and not first.code and not pending(site.plan())
    if not is_planned_empty:
        runs = 2
        second = site.apply(ahead=LATER)
        unknown = _unknown(second.plan)
        unsure = {name for name in in_flight if name.startswith("plugin/")}
        assert unknown <= (set() if site.can_list_plugins else unsure)
        assert second.code == (7 if unknown else 0), pending(second.plan)
        unknowns = len(unknown)
        if unknown:
            _settle_as_told(site, second.plan, unknown)
            runs = 3
            assert site.apply(ahead=LATER).code == 0
    row.add(runs, unknowns)
    ids = site.server.ids()
    found = tally_of(ids, site.expected)
    row.duplicates += found["duplicates"]
    row.losses += found["losses"]
    assert not found["duplicates"], ids
    assert not found["losses"], site.expected - set(ids)
    # What was planned before is planned again only after another apply.
    assert is_planned_empty or pending(site.plan()) == []
    assert site.open_intents() == []
    assert {name: [remote] for name, remote in site.records().items()} == ids


def tells_the_truth(site: Site, report: Report, there_before: set[str] = frozenset()) -> None:
    """What a report says was done is there; what it says was not done is not."""
    found = site.server.ids()
    described = {row["body"]["code"]: row["body"] for row in site.server.objects("plugin")}
    for outcome in report.outcomes:
        name = str(outcome.address)
        if outcome.result is Result.DONE and name.startswith("plugin/"):
            declared = site.spec(name.removeprefix("plugin/"))
            assert described[declared["code"]]["description"] == declared["description"], outcome
        if outcome.result is Result.DONE and outcome.action is Action.DELETE:
            assert name not in found, outcome
        elif outcome.result is Result.DONE:
            assert found.get(name) == [outcome.remote_id], outcome
        elif outcome.result in {Result.FAILED, Result.SKIPPED} and name not in there_before:
            assert name not in found, outcome


def _unknown(plan: Plan) -> set[str]:
    return {
        str(change.address)
        for change in plan.refused_changes
        if any(refusal.outcome_unknown for refusal in change.refusals)
    }


def _settle_as_told(site: Site, plan: Plan, unknown: set[str]) -> None:
    """Look, as a person would, and type one of the commands that the plan prints."""
    live = site.server.ids()
    for change in plan.refused_changes:
        if str(change.address) not in unknown:
            continue
        ways = " ".join(" ".join(refusal.ways_out) for refusal in change.refusals)
        commands = _COMMAND.findall(ways)
        there = live.get(str(change.address))
        # One alone takes over what a recovery file has.
        typed = commands[0] if there or len(commands) == 1 else commands[1]
        command(site, typed.replace(" ID", f" {there[0]}") if there else typed)


@contextlib.contextmanager
def later(seconds: Sequence[float]) -> Iterator[None]:
    """To commands of this process so much time has passed, also what is added meanwhile."""
    with (
        patch.object(target_session, "SystemClock", lambda: Ahead(0, seconds)),
        patch.object(
            environment, "read_seconds_since_boot", lambda: read_seconds_since_boot() + sum(seconds)
        ),
    ):
        yield


@contextlib.contextmanager
def waiting_by_clock(waited: list[float]) -> Iterator[None]:
    """Where a command of this process waits for an earlier call, its clocks go ahead instead."""

    def wait(console: Console, _pause: object) -> Callable[..., None]:
        return build_wait_callback(console, waited.append)

    with later(waited), patch.object(observer, "build_wait_callback", wait):
        yield


def command(site: Site, typed: str, code: int = 0) -> str:
    """Run `synapse-apply TYPED` in the project, in this process.

    Where it waits for an earlier call, its clocks go ahead in place of that.
    """
    out, back = io.StringIO(), Path.cwd()
    os.chdir(site.root)
    try:
        with (
            waiting_by_clock(site.waited),
            patch.dict(os.environ, environment_of(site.environ), clear=True),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(out),
        ):
            ended = run_command(typed.split())
    finally:
        os.chdir(back)
    assert ended == code, out.getvalue()
    assert "internal error" not in out.getvalue()
    return out.getvalue()


def chosen(every: Iterable[str], *few: str) -> list[str]:
    """All of these, or when not all are asked for, the few of them that there are."""
    return [one for one in every if DEEP or one in few]


def on_store(*few: str) -> pytest.MarkDecorator:
    """Each store that processes share, or a few of them: for tests that use make_shared_site."""
    return pytest.mark.parametrize("make_shared_site", chosen(STORES, *few), indirect=True)


def on_api(*few: str) -> pytest.MarkDecorator:
    """Each API version for plugins and releases, or a few of them."""
    return pytest.mark.parametrize("api", chosen(APIS, *few), indirect=True)


def without_a_list_of_plugins() -> pytest.MarkDecorator:
    """The page's profile, where nobody can tell what became of a plugin; others list plugins."""
    return pytest.mark.parametrize("profile", [PAGE], indirect=True)


def on_vendor() -> pytest.MarkDecorator:
    """The vendor's profile, whatever the profile of all tests is."""
    return pytest.mark.parametrize("profile", [VENDOR], indirect=True)


def on_store_and_api() -> pytest.MarkDecorator:
    """Each store that processes share with each API version and profile.

    Not all of them, unless all is asked for.
    """
    return pytest.mark.parametrize(("make_shared_site", "api", "profile"), PLACES, indirect=True)


def few_on(profile: str, few: int) -> int:
    """How many boundaries are tried on a profile: as given on that of all tests, else one."""
    return few if profile == PROFILE else 1


def some(count: int, few: int, turn: int = 0, most: int = 0) -> list[int]:
    """1 to `count`; about `few` of them, other ones at each `turn`.

    When all is asked for it is all, or with `most` about so many.
    """
    few = (most or count) if DEEP else few
    if count <= few:
        return list(range(1, count + 1))
    step = count // few
    return list(range(1 + turn % step, count + 1, step))[:few]
