"""The main job as a pipeline runs it: exit codes, texts, documents."""

from __future__ import annotations

import json
from pathlib import Path

from in_process import read_schema
from jsonschema import Draft202012Validator

from .conftest import SECRETS, STORAGE, Run


def test_the_main_job(installed_cli: Run, forked_cli: Run) -> None:
    """Plan, apply with the installed command, and then there is nothing to do."""
    planned = installed_cli("plan", "--detailed-exitcode")
    assert planned.returncode == 2, planned.stderr
    assert "\nPlan: 3 to add, 0 to change, 0 to destroy.\n" in planned.stdout
    assert "  # plugin/yolo will be created\n" in planned.stdout
    applied = installed_cli("apply", "--auto-approve")
    assert applied.returncode == 0, applied.stderr
    assert "\nApply complete! Resources: 3 added, 0 changed, 0 destroyed.\n" in applied.stdout
    assert "\x1b" not in planned.stdout + applied.stdout
    again = forked_cli("plan", "--detailed-exitcode")
    assert again.returncode == 0
    assert again.stdout.startswith("No changes.")
    nothing = forked_cli("apply", "--auto-approve")
    assert nothing.returncode == 0
    assert nothing.stdout.startswith("No changes.")
    assert "Apply complete! Resources: 0 added, 0 changed, 0 destroyed." in nothing.stdout
    said = "".join(done.stdout + done.stderr for done in (planned, applied, again, nothing))
    assert not any(value in said for value in SECRETS.values())


def test_documents(forked_cli: Run) -> None:
    """`--json` prints one document that fits its schema, and nothing else."""
    plan = json.loads(forked_cli("plan", "--json").stdout)
    Draft202012Validator(read_schema("plan")).validate(plan)
    done = forked_cli("apply", "--json", "--auto-approve")
    report = json.loads(done.stdout)
    Draft202012Validator(read_schema("report")).validate(report)
    assert report["exit_code"] == done.returncode == 0
    assert report["counts"]["added"] == 3
    assert done.stderr == ""


def test_nobody_to_ask(cli: Run, project: Path) -> None:
    """Off a terminal nothing happens that nobody approved, in either face."""
    for typed in (["apply"], ["apply", "--json"]):
        done = cli(*typed)
        assert done.returncode == 1
        assert "--auto-approve" in done.stdout + done.stderr
    assert not (project / ".synapse-apply").exists()


def test_a_refusal_leaves_the_rest(cli: Run, project: Path) -> None:
    """A storage cannot change on this API: exit 5, the rest is applied."""
    cli("apply", "--auto-approve")
    raw = project / "manifests" / "raw.yaml"
    raw.write_text(raw.read_text().replace("bucket_name: raw", "bucket_name: other"))
    (project / "manifests" / "new.yaml").write_text(STORAGE.format(name="new"))
    assert cli("plan", "--detailed-exitcode").returncode == 2
    stopped = cli("apply", "--auto-approve", "--all-or-nothing")
    assert stopped.returncode == 5
    assert "--all-or-nothing" in stopped.stderr
    done = cli("apply", "--auto-approve")
    assert done.returncode == 5
    assert "Refused: 1 (see ! rows)." in done.stdout
    assert "Apply incomplete! Resources: 1 added, 0 changed, 0 destroyed; 1 refused." in done.stdout


def test_errors_in_manifests(cli: Run, project: Path) -> None:
    """Every finding with its place; as a document with --json; nothing is written."""
    raw = project / "manifests" / "raw.yaml"
    raw.write_text(raw.read_text().replace("bucket_name", "bucket").replace("category", "categry"))
    for command in ("validate", "plan", "apply"):
        more = ["--auto-approve"] if command == "apply" else []
        done = cli(command, *more)
        assert done.returncode == 1
        assert "manifests/raw.yaml:7:3" in done.stderr
        assert done.stderr.count("Error: ") >= 2
        document = json.loads(cli(command, "--json", *more).stdout)
        assert document["exit_code"] == 1
        assert len(document["diagnostics"]) >= 2
    assert not (project / ".synapse-apply").exists()


def test_a_missing_secret_stops_before_the_first_call(cli: Run) -> None:
    """Plan says it is not checked; apply names each one and sends nothing."""
    assert "RAW_KEY is not set" in cli("plan", RAW_KEY=None).stdout
    done = cli("apply", "--auto-approve", RAW_KEY=None, RAW_ID=None)
    assert done.returncode == 1
    assert "RAW_KEY" in done.stderr
    assert "RAW_ID" in done.stderr
    assert json.loads(cli("plan", "--json").stdout)["summary"]["add"] == 3


def test_adoption_off_a_terminal_is_asked_for(cli: Run) -> None:
    """What exists but is not recorded is refused, until --adopt."""
    cli("apply", "--auto-approve")
    cli("state", "rm", "storage/raw")
    assert cli("apply", "--auto-approve").returncode == 5
    done = cli("apply", "--auto-approve", "--adopt")
    assert done.returncode == 0, done.stdout
    assert "1 imported" in done.stdout


def test_show_has_three_sides(cli: Run) -> None:
    """Declared, recorded and live, without a secret."""
    cli("apply", "--auto-approve")
    done = cli("show", "storage/raw")
    assert done.returncode == 0
    assert done.stdout.startswith("# storage/raw (declared, recorded as id 1, live as id 1)")
    document = json.loads(cli("show", "storage/raw", "--json").stdout)
    assert {"declared", "recorded", "live"} <= document.keys()
    assert not any(value in done.stdout + json.dumps(document) for value in SECRETS.values())
    assert cli("show", "storage/rw").returncode == 1


def test_a_warning_does_not_fail_show(cli: Run, project: Path) -> None:
    """What was shown is shown, whatever else is said of the manifest."""
    text = STORAGE.format(name="raw").replace("amazon_s3", "of_our_own")
    (project / "manifests" / "raw.yaml").write_text(text)
    done = cli("show", "storage/raw")
    assert "Warning: Unknown provider" in done.stderr
    assert done.returncode == 0


def test_logs_tell_requests_but_no_bodies(cli: Run, project: Path) -> None:
    """SYNAPSE_APPLY_LOG writes each request to its file, stderr stays as it was."""
    log = project / "log.txt"
    done = cli(
        "apply", "--auto-approve", SYNAPSE_APPLY_LOG="trace", SYNAPSE_APPLY_LOG_PATH=str(log)
    )
    assert done.stderr == ""
    text = log.read_text()
    assert "POST storages/" in text
    assert not any(value in text for value in SECRETS.values())


def test_some_of_the_manifests(cli: Run) -> None:
    """What other manifests declare stays recorded, so that it is not made a second time."""
    assert cli("apply", "--auto-approve").returncode == 0
    done = cli("apply", "--auto-approve", "-f", "manifests/raw.yaml")
    assert done.returncode == 0, done.stderr
    assert "Apply complete! Resources: 0 added, 0 changed, 0 destroyed.\n" in done.stdout
    assert cli("plan").stdout.startswith("No changes.")
    listed = cli("state", "show").stdout
    assert all(
        address in listed for address in ("plugin/yolo", "release/yolo@1.0.0", "storage/raw")
    )
