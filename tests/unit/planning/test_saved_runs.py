"""Runs of a saved plan on the plan made anew: nothing more is ever run than was planned."""

from __future__ import annotations

from typing import Any

import pytest
from unit.planning.test_stale_rows import fitted, reasons, rules, saved
from unit.planning.world import Data, situation

from synapse_apply.planning.planner import build_plan

AT = "edition/y@1.0.0"


def published(run: Data | None = None, verify: Data | None = None, **more: Any) -> dict[str, Data]:
    """A release that is there, with what is remembered of its last run."""
    spec = {"line": "y", "version": "1.0.0"}
    record = {"digest": "d1", **({"run": run} if run else {})}
    data = {"spec": spec, "live": spec, "record": record, "package": {"digest": "d1"}, **more}
    return {AT: {**data, "verify": verify if verify is not None else {"parameters": {"q": 1}}}}


def new() -> dict[str, Data]:
    """The same before it is there."""
    return {AT: {k: v for k, v in published()[AT].items() if k not in {"live", "record"}}}


def test_a_planned_run_comes_back_from_its_file() -> None:
    """Body, digest, reason and rules of a run are in a saved plan as they were planned."""
    assert saved(new()) == build_plan(situation(new()))
    assert saved(new()).changes[0].verification is not None


@pytest.mark.parametrize("reviewed", [True, False])
def test_a_run_that_is_still_due_is_made(reviewed: bool) -> None:
    """Also when a job was started for it meanwhile: that one is followed."""
    row = fitted(published(), published(), reviewed=reviewed)[AT]
    assert row.verification is not None
    started = published({"result": "running", "job": "3"})
    followed = fitted(published(), started, reviewed=reviewed)[AT].verification
    assert followed is not None
    assert followed.job == "3"


def test_a_run_that_passed_meanwhile_is_done_already() -> None:
    """The row asks for nothing and says so."""
    row = fitted(published(), published({"result": "passed"}))[AT]
    assert row.verification is None
    assert row.notes == ("verification was planned, and nothing is left to do",)


def test_a_run_nobody_planned_is_left_out_or_refused() -> None:
    """A saved plan leaves it as it is, a reviewed one refuses it."""
    before = published({"result": "passed"})
    now = published({"result": "failed"})
    row = fitted(before, now)[AT]
    assert row.verification is None
    assert row.notes == ("not in this plan (verification would be needed now): left unchanged",)
    refused = fitted(before, now, reviewed=True)[AT]
    assert (rules(refused), refused.verification) == (["unreviewed"], None)


@pytest.mark.parametrize(
    ("verify", "run", "why"),
    [
        ({"parameters": {"q": 2}}, None, "it would be verified differently than planned"),
        ({"parameters": {"q": 1}, "on_failure": "warn"}, None,
         "it would be verified differently than planned"),
    ],
)  # fmt: skip
def test_another_run_than_the_planned_one_is_refused(verify: Data, run: Any, why: str) -> None:
    """Other parameters or rules are not what was reviewed."""
    row = fitted(published(), published(run, verify), reviewed=True)[AT]
    assert (rules(row), row.verification) == (["stale"], None)
    assert why in reasons(row)


def test_a_release_whose_run_was_not_planned_is_refused() -> None:
    """Planned with --no-verify, then reviewed with runs: a reader did not see them."""
    silent = saved(new(), verify=False)
    assert silent.changes[0].verification is None
    from synapse_apply.planning.narrow import narrow_plan

    (row,) = narrow_plan(silent, build_plan(situation(new())), reviewed=True).changes
    assert "it would now be verified, which was not planned" in reasons(row)


def test_what_an_interrupted_apply_left_is_only_the_run() -> None:
    """The release was made, its run failed: the same reviewed plan makes the run again."""
    row = fitted(new(), published({"result": "failed"}), reviewed=True)[AT]
    assert row.refusals == ()
    assert row.verification is not None
    assert row.verification.reason == "the last run failed"
    assert row.notes == ("create was planned, and nothing is left to do",)


def test_a_run_whose_release_is_stale_is_not_made() -> None:
    """A row that is refused loses its run, too."""
    gone = {k: v for k, v in published()[AT].items() if k != "live"}
    row = fitted(published(), {AT: gone})[AT]
    assert (rules(row), row.verification) == (["stale"], None)
