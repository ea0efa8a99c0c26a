"""Looking after a state: by list, rename, backup, inventory."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event, Thread

import pytest

from synapse_apply import Invocation, SynapseApplyError, open_state

from .conftest import Run


@pytest.fixture
def applied(cli: Run) -> Run:
    """The project, applied."""
    assert cli("apply", "--auto-approve").returncode == 0
    return cli


def test_list_show_and_rename(applied: Run) -> None:
    """A record is found under its address, and under its new one after mv."""
    assert "plugin/yolo " in applied("state", "show").stdout
    assert applied("state", "show", "plugin/yolo").stdout.startswith("# plugin/yolo\n")
    assert applied("state", "show", "plugin/yol").returncode == 1
    assert applied("state", "mv", "storage/raw", "storage/raw2").returncode == 0
    listed = json.loads(applied("state", "show", "--json").stdout)
    assert "storage/raw2" in [record["address"] for record in listed["records"]]
    assert "storage/raw storage/raw2" not in applied("state", "show").stdout
    refused = applied("plan", "--detailed-exitcode")
    assert "synapse-apply state mv storage/raw2 storage/raw" in refused.stdout
    assert refused.returncode == 2


def test_a_lost_state_is_built_again_from_its_inventory(applied: Run, project: Path) -> None:
    """Inventory, rm, import -f: the plan is empty again but for what only an apply can know."""
    inventory = project / "inventory.yaml"
    inventory.write_text(applied("state", "show", "--inventory").stdout)
    assert (
        applied("state", "rm", "plugin/yolo", "release/yolo@1.0.0", "storage/raw").returncode == 0
    )
    done = applied("import", "-f", "inventory.yaml")
    assert done.returncode == 0, done.stderr
    assert "Resources: 3 imported." in done.stdout
    summary = json.loads(applied("plan", "--json").stdout)["summary"]
    assert summary["add"] == 0


def test_backup_and_restore(applied: Run) -> None:
    """A backup brings back what was forgotten since; it is not put over a state unasked."""
    assert applied("state", "backup", "copy").returncode == 0
    applied("state", "rm", "storage/raw")
    assert applied("state", "restore", "copy").returncode == 1
    assert applied("state", "restore", "copy", "--auto-approve").returncode == 0
    assert applied("plan").stdout.startswith("No changes.")


def test_reset_starts_over(applied: Run, project: Path) -> None:
    """Objects and state go together; one without the other names the command."""
    assert applied("emulator", "--reset").returncode == 1
    (project / ".synapse-apply" / "state" / "embedded.db").unlink()
    half = applied("plan")
    assert half.returncode == 1
    assert "synapse-apply emulator --reset" in half.stderr
    assert applied("emulator", "--reset", "--auto-approve").returncode == 0
    assert "Plan: 3 to add" in applied("plan").stdout


def test_a_new_target_needs_a_state(cli: Run, project: Path) -> None:
    """Elsewhere than on embedded a state is made on purpose."""
    file = project / "synapse-apply.yaml"
    file.write_text(file.read_text() + "targets:\n  dev: {url: 'http://127.0.0.1:9'}\n")
    missing = cli("plan", "-t", "dev")
    assert missing.returncode == 1
    assert "synapse-apply state init" in missing.stderr
    made = cli("state", "init", "-t", "dev", "--json")
    assert made.returncode == 0, made.stderr
    assert len(json.loads(made.stdout)["lineage"]) == 36
    assert cli("state", "init", "-t", "dev").returncode == 1
    file.write_text(file.read_text().replace("127.0.0.1:9", "127.0.0.1:10"))
    foreign = cli("plan", "-t", "dev")
    assert "synapse-apply state rebind -t dev" in foreign.stderr
    bound = cli("state", "rebind", "-t", "dev", "--auto-approve")
    assert (
        "The state was bound to http://127.0.0.1:9 and is now bound to http://127.0.0.1:10."
        in bound.stdout
    )


def test_a_held_lock_is_told_and_nothing_is_touched(applied: Run, project: Path) -> None:
    """Exit 6, who holds it, in both faces; a plan only reads, so it goes on."""
    with (
        open_state(Invocation(project, target="embedded", environ={})) as context,
        context.store.lock("a test"),
    ):
        at_once = ("apply", "--auto-approve", "--lock-timeout", "0")
        held = applied(*at_once)
        assert held.returncode == 6
        assert "running a test since" in held.stderr
        assert json.loads(applied(*at_once, "--json").stdout)["exit_code"] == 6
        assert applied("emulator", "--reset", "--auto-approve").returncode == 6
        assert applied("plan").stdout.startswith("No changes.")


def test_a_state_command_waits_for_a_lock_where_it_is_told_to(applied: Run, project: Path) -> None:
    """Else it ends at once, and its hint names the option."""
    gone = ("state", "settle", "storage/raw", "--absent")
    released = Event()

    def hold() -> None:
        with (
            open_state(Invocation(project, target="embedded", environ={})) as context,
            context.store.lock("a test"),
        ):
            taken.set()
            released.wait(120)

    taken = Event()
    holder = Thread(target=hold)
    holder.start()
    assert taken.wait(60)
    at_once = applied(*gone)
    assert at_once.returncode == 6
    assert "--lock-timeout SECONDS" in at_once.stderr
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(applied, *gone, "--lock-timeout", "120")
        wait([waiting], 3)  # without the option it would have ended by now
        released.set()
        ended = waiting.result(120)
    holder.join()
    assert "locked" not in ended.stderr
    assert ended.returncode == 1  # no call of it is open


def test_the_lock_of_a_run_that_is_gone_is_removed_by_its_id(applied: Run, project: Path) -> None:
    """The message prints the command; another id removes nothing."""
    with open_state(Invocation(project, target="embedded", environ={})) as context:
        held = context.store.lock("a test")
        held.__enter__()
        told = applied("apply", "--auto-approve", "--lock-timeout", "0.1")
        assert told.returncode == 6
        typed = re.search(r"synapse-apply (state unlock \S+ -t \w+)", told.stderr)
        assert typed, told.stderr
        assert applied("state", "unlock", "not-the-id").returncode == 1
        assert applied(*typed[1].split()).returncode == 0
        assert applied("apply", "--auto-approve", "--lock-timeout", "0").returncode == 0
        with pytest.raises(SynapseApplyError, match="The lock on the state was lost"):
            context.store.replace_backend_identity(context.store.read_backend_identity())


def test_a_guard_stops_before_any_call(applied: Run, project: Path) -> None:
    """An emptied workspace: exit 5 and the name that overrides it."""
    for path in (project / "manifests").glob("*.yaml"):
        path.unlink()
    assert applied("plan").returncode == 0
    stopped = applied("apply", "--auto-approve")
    assert stopped.returncode == 5
    assert "--override-guard no-manifests" in stopped.stderr
    assert "plugin/yolo" in applied("state", "show").stdout
