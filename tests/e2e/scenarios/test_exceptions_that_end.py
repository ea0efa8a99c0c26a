"""What is let pass until a day: told in the last week, and shown again after it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from e2e.scenarios.test_packages_refused import REFUSED, build_entry, write_package, write_policy
from e2e.scenarios.workplace import Ran, Server, Workplace, project
from fault.convergence import later

PROVIDERS = {"rule": "allowed-providers", "values": ["gcp"]}
SOON, ENDED = "An exception ends within a week", "An exception has ended"


def day(number: int) -> str:
    """A day by its distance from today."""
    today: date = datetime.now(UTC).date()
    return f"{today + timedelta(days=number)}"


def run_later(place: Workplace, days: float, *typed: str, code: int | None = None) -> Ran:
    """Run a command whose machine says that so many days more have passed."""
    with later([days * 86_400]):
        return place.run(*typed, code=code)


def list_summaries(ran: Ran) -> list[str]:
    return [found["summary"] for found in ran.document["diagnostics"]]


def ignore(place: Workplace, until: str) -> None:
    """Let people change the base path of the storage, which this API cannot, until a day."""
    place.edit(
        "manifests/storage.yaml",
        "spec:\n",
        "lifecycle:\n  ignore_changes:\n    - path: /configuration/base_path\n"
        f"      until: {until}\n      reason: Ticket 12\nspec:\n",
    )
    place.edit("manifests/storage.yaml", "/data/raw", "/data/new")


@pytest.mark.parametrize(("left", "told"), [(8, []), (7, [SOON]), (0, [SOON]), (-1, [ENDED])])
def test_a_field_is_ignored_to_the_end_of_its_day(applied, left, told):
    """Nothing is told for longer than a week; on its last day it still holds."""
    ignore(applied, day(left))
    ran = applied.plan("--json", code=0)
    assert list_summaries(ran) == told
    rows = {row["address"]: row for row in ran.document["resource_changes"]}
    assert bool(rows["storage/raw-data"].get("refusals")) == (left < 0)
    assert applied.plan("--detailed-exitcode").code == (2 if left < 0 else 0)


def test_plan_drift_doctor_and_reports_tell_what_ends(applied):
    """With line, column, reason and the way out, at each place where somebody may look."""
    ignore(applied, day(3))
    said = (
        f"`ignore_changes: /configuration/base_path` of storage/raw-data ends after {day(3)} "
        "(reason: Ticket 12). Then the row is shown again."
    )
    place = "manifests/storage.yaml:6:7"
    planned = applied.plan(code=0)
    for ran in (planned, applied.run("drift", code=0), applied.run("doctor")):
        text = " ".join(ran.text.split())
        assert SOON in text
        assert said in text
        assert place in text
        assert "Remove the entry, or set a later `until:`." in text
    applied.plan("--report", "markdown=plan.md", "--report", "html=plan.html", code=0)
    for name in ("plan.md", "plan.html"):
        assert SOON in (applied.root / name).read_text(encoding="utf-8")
    # What has not ended is nothing that is wrong with the files.
    assert "exception" not in applied.run("validate", "--strict", code=0).text


def test_the_clock_alone_shows_the_row_again(applied):
    """Nothing is edited: the day after, plan refuses, doctor tells, and apply sends nothing."""
    ignore(applied, day(3))
    applied.unchanged()
    assert "No changes." in run_later(applied, 3, "plan", code=0).out
    shown = run_later(applied, 4, "plan", "--detailed-exitcode", code=2)
    assert "! storage/raw-data cannot be updated" in shown.out
    assert f"ended after {day(3)} (reason: Ticket 12). The row is shown again." in shown.text
    assert ENDED in run_later(applied, 4, "doctor").out
    run_later(applied, 4, "apply", "--auto-approve", code=5)


def test_validate_tells_what_has_ended(applied):
    """A warning at line and column; an error with --strict, and of an unknown day."""
    ignore(applied, "2020-02-29")
    ran = applied.run("validate", code=0)
    assert f"Warning: {ENDED}\n  on manifests/storage.yaml:6:7, with storage/raw-data\n" in ran.text
    assert "ended after 2020-02-29 (reason: Ticket 12). The row is shown again." in ran.text
    assert f"Error: {ENDED}" in applied.run("validate", "--strict", code=1).text
    applied.edit("manifests/storage.yaml", "2020-02-29", "2021-02-29")
    ran = applied.run("validate", code=1)
    assert (
        "Error: Malformed date\n  on manifests/storage.yaml:7:7, with storage/raw-data" in ran.text
    )
    assert "`2021-02-29` is not a date" in ran.text


def test_an_offline_plan_knows_the_day(applied):
    """The base of an offline plan is a Git ref or an inventory; no backend is needed to tell."""
    applied.write("inventory.yaml", "inventory:\n- {address: storage/raw-data, id: '7'}\n")
    ignore(applied, day(-1))
    ran = applied.plan("--offline", "--against", "state:inventory.yaml", code=0)
    assert ENDED in ran.text


@pytest.fixture
def ruled(ready: Workplace, server: Server) -> Callable[..., Workplace]:
    """A rule that the storage breaks, with exceptions; common, or of the target."""

    def made(*excepted: Any, of_target: bool = False) -> Workplace:
        policy = {"rules": [{**PROVIDERS, "except": list(excepted)}]}
        document = json.loads(project(server.url, **({"policy": policy} if of_target else {})))
        if not of_target:
            document["policy"] = policy
        ready.write("synapse-apply.yaml", json.dumps(document))
        return ready

    return made


@pytest.mark.parametrize("of_target", [False, True])
@pytest.mark.parametrize("address", ["storage/raw-data", "storage/raw-*", "storage"])
def test_an_exception_of_a_rule_ends(ruled, address, of_target):
    """It holds like one without end until its day, beside others that stay."""
    entry = {"address": address, "until": day(2), "reason": "Ticket 12"}
    place = ruled("plugin", entry, of_target=of_target)
    planned = place.plan(code=0)
    assert "Plan: 3 to add" in planned.out
    assert (
        f"`except: {address}` of policy rule allowed-providers ends after {day(2)} "
        "(reason: Ticket 12)."
    ) in planned.text
    shown = run_later(place, 3, "plan", code=0)
    assert '! storage/raw-data cannot be created: provider is "file_system"' in shown.out
    assert ENDED in shown.text
    run_later(place, 3, "apply", "--auto-approve", code=5)
    place = ruled("plugin", {**entry, "until": day(-1)}, of_target=of_target)
    place.apply(code=5)
    assert ENDED in place.run("validate", code=0).text


def test_a_saved_plan_is_judged_by_the_day_of_its_apply(ruled, server):
    """A yes to a plan does not make its exceptions longer."""
    place = ruled({"address": "storage", "until": day(0)})
    place.plan("--out", "saved", code=0)
    run_later(place, 1, "apply", "saved", code=4)
    assert server.counts == (1, 1, 0)
    place.run("apply", "saved", code=4)  # used up, or stale: never twice


def test_an_allowed_secret_ends(ready, server):
    """The release is refused again with the way out, and the ended entry is told."""
    write_package(ready)
    write_policy(ready, server, build_entry(ready, until=day(1)))
    planned = ready.plan(code=0)
    assert "the policy allows the secret in plugins/yolo/plugin/train.py:2:" in planned.out
    assert (
        f"The allowed secret in plugin/train.py ends after {day(1)} (reason: A key of a test.)."
    ) in planned.text
    shown = run_later(ready, 2, "plan", code=0)
    assert REFUSED in shown.out
    assert ENDED in shown.text
    write_policy(ready, server, build_entry(ready, until=day(-1)))
    assert REFUSED in ready.apply(code=5).out
    assert server.counts == (1, 0, 1)


@pytest.fixture
def differing(applied):
    """A storage edited in Git: this API cannot change it, so that the plan refuses."""
    applied.edit("manifests/storage.yaml", "/data/raw", "/data/new")
    applied.plan("--detailed-exitcode", code=2)
    return applied


def accept(place: Workplace, *more: str, code: int = 0) -> Ran:
    words = ("state", "accept", "storage/raw-data", "--auto-approve", *more)
    return place.run(*words, code=code)


def test_an_accepted_difference_ends(differing):
    """Told by plan, doctor and show in the last week; then the row is refused as before."""
    ran = accept(differing, "--until", day(3), "--reason", "Ticket 12")
    assert f"until the end of {day(3)} (UTC)." in ran.out
    said = (
        "The accepted difference of storage/raw-data (configuration.base_path) ends after "
        f"{day(3)} (reason: Ticket 12)."
    )
    show = differing.run("show", "storage/raw-data")
    planned = differing.plan("--detailed-exitcode", code=0)
    for told in (planned, differing.run("doctor", code=0), show):
        assert said in " ".join(told.text.split())
    assert "1 accepted difference" in planned.out
    shown = run_later(differing, 4, "plan", "--detailed-exitcode", code=2)
    assert "! storage/raw-data cannot be updated" in shown.out
    assert "accepted difference of" in shown.text
    assert ENDED in shown.text
    assert "`synapse-apply state accept storage/raw-data` accepts it again." in shown.text
    assert ENDED in run_later(differing, 4, "doctor").out
    run_later(differing, 4, "apply", "--auto-approve", code=5)


def test_an_ended_acceptance_is_given_anew(differing):
    """As one that was never given: what differs is listed, and the new end counts."""
    accept(differing, "--until", day(1))
    words = ("state", "accept", "storage/raw-data", "--auto-approve", "--until", day(20))
    again = run_later(differing, 3, *words, code=0)
    assert '"/data/raw" -> "/data/new"' in again.out
    assert "No changes." in run_later(differing, 3, "plan", "--detailed-exitcode", code=0).out
    run_later(differing, 21, "plan", "--detailed-exitcode", code=2)


def test_the_end_of_an_acceptance_is_set_by_the_last_one(differing):
    """Also to none, and undoing it takes the end along."""
    accept(differing, "--until", day(1))
    assert SOON in differing.plan(code=0).text
    accept(differing)
    assert "exception" not in differing.plan(code=0).text
    assert "No changes." in run_later(differing, 400, "plan", "--detailed-exitcode", code=0).out
    accept(differing, "--until", day(1))
    differing.run("state", "accept", "storage/raw-data", "--undo", code=0)
    assert "exception" not in differing.plan("--detailed-exitcode", code=2).text


def test_an_end_survives_an_apply_of_other_fields(differing):
    """An apply that records the object keeps what was accepted of it, and until when."""
    accept(differing, "--until", day(3), "--reason", "Ticket 12")
    differing.edit("manifests/storage.yaml", "{name: raw-data}", "{name: raw-data, labels: {a: b}}")
    differing.edit("manifests/storage.yaml", "name: Raw data", "name: Raw images")
    differing.run("apply", "--auto-approve")
    assert f"ends after {day(3)} (reason: Ticket 12)." in differing.plan().text


def test_what_no_longer_differs_is_not_told(differing):
    """The manifest went back to what is live: there is no row to show again."""
    accept(differing, "--until", day(1))
    differing.edit("manifests/storage.yaml", "/data/new", "/data/raw")
    differing.apply()
    assert "exception" not in run_later(differing, 3, "plan", "--detailed-exitcode", code=0).text


@pytest.mark.parametrize(
    ("typed", "code", "why"),
    [
        (("--until", "tomorrow"), 1, "`tomorrow` is not a date"),
        (("--until", "2026-02-30"), 1, "`2026-02-30` is not a date"),
        (("--until", "2020-01-01"), 1, "is before today"),
        (("--until", "2999-01-01", "--undo"), 64, "--until cannot be combined with --undo"),
        (("--reason", "x"), 64, "--reason needs --until"),
    ],
)
def test_an_end_that_is_none(differing, typed, code, why):
    """Nothing is accepted."""
    assert why in accept(differing, *typed, code=code).err
    differing.plan("--detailed-exitcode", code=2)
