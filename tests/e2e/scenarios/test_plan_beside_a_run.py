"""A plan made while another run is at work counts nothing of that run as its own to do."""

from __future__ import annotations

import pytest
from e2e.scenarios.open_calls import announce_create
from e2e.scenarios.workplace import Server, Workplace, held

RAW = {
    "name": "Raw data",
    "provider": "file_system",
    "category": "internal",
    "configuration": {"base_path": "/data/raw"},
}
OTHER_RUN = "Another run is changing this target"


@pytest.fixture
def made_and_not_recorded(ready: Workplace, server: Server) -> Workplace:
    """What a second look finds while an apply waits between its call and its record."""
    (ready.root / "manifests" / "plugin.yaml").unlink()
    server.call("POST", "storages/", RAW)
    return ready


def test_what_a_running_apply_made_is_no_import(made_and_not_recorded: Workplace) -> None:
    """The plan says who is at work since when, and counts no import; then it is one again."""
    with held(made_and_not_recorded):
        ran = made_and_not_recorded.plan("--detailed-exitcode", code=2)
    assert OTHER_RUN in ran.text
    assert "running apply since 20" in ran.text
    assert "to import" not in ran.out
    assert "the run in progress may have just created it" in ran.out
    after = made_and_not_recorded.plan()
    assert OTHER_RUN not in after.text
    assert "1 to import" in after.out


def test_json_counts_no_import_either(made_and_not_recorded: Workplace) -> None:
    """A script reads the same."""
    with held(made_and_not_recorded):
        document = made_and_not_recorded.plan("--json", code=0).document
    assert document["summary"]["import"] == 0
    assert [one["summary"] for one in document["diagnostics"]] == [OTHER_RUN]


def test_a_saved_plan_of_that_moment_imports_nothing(
    made_and_not_recorded: Workplace, server: Server
) -> None:
    """Nor does applying it later: its row is stale by then."""
    with held(made_and_not_recorded):
        made_and_not_recorded.plan("--out", "now.plan", code=0)
    made_and_not_recorded.run("apply", "now.plan", code=4)
    assert server.counts == (0, 0, 1)
    assert "1 to import" in made_and_not_recorded.plan().out


def test_an_apply_is_not_in_its_own_way(made_and_not_recorded: Workplace, server: Server) -> None:
    """It holds the lock itself and adopts as ever."""
    assert OTHER_RUN not in made_and_not_recorded.apply("--adopt").text
    assert server.counts == (0, 0, 1)
    made_and_not_recorded.unchanged()


def test_drift_says_it_too(applied: Workplace, server: Server) -> None:
    """What it reports is of a target that is being changed."""
    with held(applied):
        assert OTHER_RUN in applied.run("drift").text
    assert OTHER_RUN not in applied.run("drift").text


def test_calls_of_a_running_apply_are_not_called_lost(ready: Workplace) -> None:
    """One is under way: the plan asks nobody to look it up or to settle it by hand."""
    (ready.root / "manifests" / "plugin.yaml").unlink()
    with held(ready) as store:
        announce_create(store)
        during = ready.plan(code=0)
    after = ready.plan(code=0)
    assert "the run in progress has not recorded how the call ended" in during.out
    assert "earlier" not in during.text
    assert "The outcome of an earlier call is still unknown" in after.text
