"""A command that is printed is copied: beside another default target it names the one in use."""

from __future__ import annotations

import json
import re
from html import unescape

import pytest
from e2e.scenarios.workplace import Ran, Server, Workplace, project

# In Markdown the backticks are there, too; on a page it is a <code>, in JSON a quote may end it.
WITHOUT_TARGET = {"completion", "controller", "emulator", "explain", "init", "schema", "version"}
_COMMAND = re.compile(r"(?:`|<code(?: class=\"command\")?>)synapse-apply ([a-z]+)([^`<]*)")


@pytest.fixture
def place(place: Workplace, server: Server) -> Workplace:
    """Two targets: `prod`, which is meant, and `other`, which is the default and answers nothing."""
    told = json.loads(project(server.url))
    nowhere = {"url": "http://127.0.0.1:9", "token": {"env": "PROD_TOKEN"}}
    told["targets"]["other"] = nowhere
    place.write("synapse-apply.yaml", json.dumps({**told, "default_target": "other"}))
    return place


@pytest.fixture
def moved(place: Workplace, server: Server) -> Workplace:
    """All applied; then somebody changed the plugin outside, and somebody the storage in Git."""
    place.run("state", "init", "-t", "prod", code=0)
    place.apply("-t", "prod")
    server.call("PATCH", "_emulator/objects/plugin/1/", {"description": "By hand"})
    place.edit("manifests/storage.yaml", "name: Raw data", "name: Raw data of all")
    return place


def aimed(*texts: str) -> list[str]:
    """The commands in texts; each that knows a target must name `prod`."""
    found = [one for text in texts for one in _COMMAND.finditer(unescape(text))]
    told = [f"{one[1]}{one[2]}" for one in found if one[1] not in WITHOUT_TARGET]
    assert [one for one in told if "-t prod" not in one] == []
    return told


def told(ran: Ran) -> list[str]:
    return aimed(ran.out, ran.err)


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("plan", 1),
        ("apply", 1),
        ("apply --auto-approve", 1),
        ("doctor", 1),
        ("doctor --json", 1),
        ("state show", 1),
        ("drift", 1),
        ("bump yolo patch", 0),
    ],
)
def test_before_anything_is_applied(place: Workplace, typed: str, code: int) -> None:
    """There is no state: what makes or restores it is made for this target."""
    assert told(place.run(*typed.split(), "-t", "prod", code=code))


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("drift", 0),
        ("drift --write plugin/yolo", 0),
        ("apply", 1),
        ("apply --json", 1),
        ("show storage/nowhere", 1),
        ("state show storage/nowhere", 1),
        ("package diff yolo", 0),
        ("state history show 0000", 1),
        ("state settle plugin/yolo --absent", 1),
    ],
)
def test_what_was_applied_and_moved(moved: Workplace, typed: str, code: int) -> None:
    """What to do about drift, about a mistyped address, about changed packages."""
    moved.write("plugins/yolo/plugin/more.py", "print('more')\n")
    assert told(moved.run(*typed.split(), "-t", "prod", code=code))


def test_reports_of_drift(moved: Workplace) -> None:
    """Also where a reader finds them who did not type the command."""
    moved.run("drift", "-t", "prod", *(
        f"--report={kind}=told.{kind}" for kind in ("markdown", "html", "json")
    ), code=0)  # fmt: skip
    for kind in ("markdown", "html"):
        assert len(aimed((moved.root / f"told.{kind}").read_text(encoding="utf-8"))) >= 3
    aimed((moved.root / "told.json").read_text(encoding="utf-8"))


def test_drift_that_is_kept_or_cannot_be_undone(moved: Workplace, server: Server) -> None:
    """The other ways out, too."""
    settings = json.loads((moved.root / "synapse-apply.yaml").read_text(encoding="utf-8"))
    settings["targets"]["prod"]["on_drift"] = "hold"
    moved.write("synapse-apply.yaml", json.dumps(settings))
    assert told(moved.run("drift", "-t", "prod", code=0))
    assert told(moved.plan("-t", "prod", code=0))
    server.call("DELETE", "_emulator/objects/plugin/1/")
    assert told(moved.run("drift", "-t", "prod"))
    assert told(moved.run("drift", "--write", "plugin/yolo", "-t", "prod", code=1))


def test_a_backup_that_was_restored(moved: Workplace) -> None:
    """What to do next is to be done on the same target."""
    moved.run("state", "backup", "prod.backup", "-t", "prod", code=0)
    assert told(
        moved.run("state", "restore", "prod.backup", "--auto-approve", "-t", "prod", code=0)
    )


def test_a_run_whose_time_is_up(moved: Workplace) -> None:
    """The job goes on, and is followed where it is."""
    script = '{"seconds": 3600, "log_lines": 0}'
    typed = ("run", "yolo", "-p", f"emulator={script}", "--follow", "--timeout", "0.5")
    (command,) = told(moved.run(*typed, "-t", "prod", code=1))
    assert command == "jobs logs 1 --follow -t prod"


def test_without_a_target_that_was_typed(moved: Workplace, server: Server) -> None:
    """Nothing is added: the default is what is meant."""
    moved.write("synapse-apply.yaml", project(server.url))
    assert "`synapse-apply apply` restores the declared values" in moved.run("drift", code=0).out
