"""What an apply leaves in the log of a pipeline, and the lines that programs read."""

from __future__ import annotations

import json
import re
from pathlib import Path

from .conftest import STORAGE, Run


def test_a_log_tells_each_call_once(cli: Run) -> None:
    """Off a terminal the report says what was done, below the plan, and stderr nothing more."""
    done = cli("apply", "--auto-approve")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    report = done.stdout.partition("to destroy.\n")[2]
    for address in ("plugin/yolo", "release/yolo@1.0.0", "storage/raw"):
        assert re.findall(rf"^  \+ {address} created \(id 1, ", report, re.MULTILINE)
        assert report.count(f"{address} ") == 1
    assert cli("apply", "--auto-approve").stderr == ""


def test_a_log_tells_each_refusal_once(cli: Run, project: Path) -> None:
    """With its ways out in the plan; the report counts it."""
    assert cli("apply", "--auto-approve").returncode == 0
    raw = project / "manifests" / "raw.yaml"
    raw.write_text(raw.read_text().replace("external", "internal"))
    done = cli("apply", "--auto-approve")
    assert done.returncode == 5, done.stdout
    assert (done.stdout + done.stderr).count("storage/raw cannot be updated") == 1
    assert done.stdout.endswith(
        "Refused: 1 (see ! rows).\n"
        "Apply incomplete! Resources: 0 added, 0 changed, 0 destroyed; 1 refused.\n"
    )


def test_programs_read_what_is_done_line_by_line(cli: Run) -> None:
    """From the version to the document of --json; no secret is in any of it."""
    done = cli("apply", "--auto-approve", "--json-lines")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [event["type"] for event in events]
    assert kinds[0] == "version"
    assert kinds.count("planned_change") == kinds.count("apply_start") == 3
    assert kinds.count("apply_complete") == 3
    assert kinds[-2:] == ["change_summary", "report"]
    assert events[-1]["report"]["counts"]["added"] == 3
    assert done.stderr == ""
    assert "canary" not in done.stdout


def test_an_error_is_a_line_of_its_own(cli: Run, project: Path) -> None:
    """What is wrong stands in a line with its place, and in the report that ends the stream."""
    text = STORAGE.format(name="taken").replace("external", "no-such-category")
    (project / "manifests" / "taken.yaml").write_text(text)
    done = cli("apply", "--auto-approve", "--json-lines")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["report"]["exit_code"] == done.returncode != 0
    (finding, *_) = [event["diagnostic"] for event in events if event["type"] == "diagnostic"]
    assert (finding["severity"], finding["range"]["filename"]) == ("error", "manifests/taken.yaml")


def test_an_early_end_has_the_same_lines(cli: Run) -> None:
    """Where nothing was planned the stream still begins with a version and ends with a report."""
    done = cli("apply", "--json-lines")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["type"] for event in events] == ["version", "diagnostic", "report"]
    assert events[1]["diagnostic"]["summary"] == "--json-lines needs --auto-approve"
    assert events[-1]["report"]["exit_code"] == done.returncode == 1


def test_two_forms_of_json_are_a_usage_error(cli: Run) -> None:
    """One of them would be ignored."""
    both = cli("apply", "--auto-approve", "--json", "--json-lines")
    assert both.returncode == 64
    report = cli("apply", "--auto-approve", "--json-lines", "--report", "json=-")
    assert report.returncode == 64
    assert "--json-lines and a report to stdout cannot be combined" in report.stderr


def test_verify_has_lines_too(cli: Run, project: Path) -> None:
    """A run by hand is a call that begins and ends."""
    release = next(
        p for p in (project / "manifests").glob("*.yaml") if "kind: Release" in p.read_text()
    )
    text = release.read_text()
    release.write_text(
        text.replace("kind: Release\nspec:\n", "kind: Release\nspec:\n  verify: {}\n")
    )
    assert cli("apply", "--auto-approve", "--no-verify").returncode == 0
    done = cli("verify", "release/yolo", "--json-lines")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stdout
    kinds = [event["type"] for event in events]
    assert kinds == ["version", "apply_start", "apply_complete", "change_summary", "report"]
    assert events[2]["hook"]["action"] == "verify"
