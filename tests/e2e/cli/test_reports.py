"""`--report`: what a pull request, a CI runner and a program are told, beside what is printed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from in_process import read_schema
from jsonschema import Draft202012Validator
from unit.views.forge import read
from unit.views.leaf import Leaf

from .conftest import SECRETS, STORAGE, Run, run_in

ALL = {"json": "p.json", "markdown": "p.md", "github": "gh.md", "gitlab": "tf.json",
       "codequality": "cq.json", "html": "p.html"}  # fmt: skip
HOSTILE = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: odd}
spec:
  name: "```\\n</details><b>@acme/all #1"
  code: odd
  description: "\\n::set-output name=add::9\\n::error::x\\n##[error]\\u202e\\e[31m 한국어"
  configuration: {parameters: {"\\n::error::key": "%0A::error::", long: "LONG"}}
"""


def asked(folder: str, **kinds: str) -> list[str]:
    return [part for kind, file in kinds.items() for part in ("--report", f"{kind}={folder}{file}")]


def test_every_kind_at_once(cli: Run, project: Path) -> None:
    """One plan, six files, in a folder that is made; what is printed is the same as without."""
    done = cli("plan", *asked("out/", **ALL))
    assert done.returncode == 0, done.stderr
    assert done.stdout == cli("plan").stdout
    out = project / "out"
    assert sorted(path.name for path in out.iterdir()) == sorted(ALL.values())
    Draft202012Validator(read_schema("plan")).validate(json.loads((out / "p.json").read_text()))
    assert json.loads((out / "tf.json").read_text()) == {"create": 3, "update": 0, "delete": 0}
    assert json.loads((out / "cq.json").read_text()) == []
    text = (out / "p.md").read_text()
    assert "**Plan: 3 to add, 0 to change, 0 to destroy.**" in text
    assert read(text).tags.count("details") == 3
    assert (out / "gh.md").read_text() == text
    page = (out / "p.html").read_text()
    assert page.startswith("<!DOCTYPE html>\n")
    assert len(Leaf(page).rows) == 3
    said = "".join(path.read_text() for path in out.iterdir())
    assert not any(value in said for value in SECRETS.values())


def test_an_apply_reports_what_was_done(cli: Run, project: Path) -> None:
    """Outcomes and counts of the apply, in place of the file that was there."""
    (project / "p.md").write_text("old " * 99)
    (project / "p.md").chmod(0o640)
    done = cli("apply", "--auto-approve", *asked("", **ALL))
    assert done.returncode == 0, done.stderr
    text = (project / "p.md").read_text()
    assert text.startswith("<!-- synapse-apply: target=embedded apply -->\n")
    assert "**Apply complete! Resources: 3 added, 0 changed, 0 destroyed.**" in text
    assert "old" not in text
    assert (project / "p.md").stat().st_mode & 0o777 == 0o640
    assert json.loads((project / "tf.json").read_text()) == {"create": 3, "update": 0, "delete": 0}
    report = json.loads((project / "p.json").read_text())
    Draft202012Validator(read_schema("report")).validate(report)
    assert not list(project.glob(".*.part"))


def test_to_stdout(cli: Run) -> None:
    """A report to stdout is all there is on stdout; what people read goes to stderr."""
    done = cli("plan", "--report", "markdown=-", "--detailed-exitcode")
    assert done.returncode == 2
    assert done.stdout.startswith("<!-- synapse-apply: target=embedded -->\n")
    assert done.stderr.startswith("Target embedded")
    applied = cli("apply", "--auto-approve", "--report", "json=-")
    assert json.loads(applied.stdout)["counts"]["added"] == 3


@pytest.mark.parametrize(
    "typed",
    [
        ["--report", "html5=x"],
        ["--report", "markdown"],
        ["--report", "markdown="],
        ["--report", "github="],
        ["--report", "json=-", "--report", "markdown=-"],
        ["--report", "json=x", "--report", "markdown=x"],
        ["--json", "--report", "markdown=-"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant(cli: Run, project: Path, typed: list[str]) -> None:
    """A usage error, before anything is done."""
    done = cli("apply", "--auto-approve", *typed)
    assert done.returncode == 64
    assert done.stdout == ""
    assert not (project / ".synapse-apply").exists()


def test_a_report_that_cannot_be_written(cli: Run, project: Path) -> None:
    """A plan ends as an error, shown all the same; an apply keeps its outcome and says so."""
    (project / "file").write_text("")
    lost = ["--report", "markdown=file/x.md", "--report", "json=kept.json"]
    planned = cli("plan", *lost)
    assert planned.returncode == 1
    assert "Plan: 3 to add" in planned.stdout
    assert "Error: The markdown report cannot be written" in planned.stderr
    applied = cli("apply", "--auto-approve", *lost)
    assert applied.returncode == 0
    assert "Apply complete! Resources: 3 added" in applied.stdout
    assert "Warning: The markdown report cannot be written" in applied.stderr
    assert json.loads((project / "kept.json").read_text())["counts"]["added"] == 3


def test_an_apply_that_does_not_begin_is_reported(cli: Run, project: Path) -> None:
    """A secret that is missing is told in the comment, too, and no counts are made up."""
    done = cli("apply", "--auto-approve", *asked("", **ALL), RAW_KEY=None)
    assert done.returncode == 1
    text = (project / "p.md").read_text()
    assert text.startswith("<!-- synapse-apply: target=embedded apply -->\n\n## Apply failed")
    assert "RAW_KEY" in text
    assert json.loads((project / "tf.json").read_text()) == {}
    assert json.loads((project / "p.json").read_text())["exit_code"] == 1


def runner(folder: Path) -> dict[str, str]:
    """What GitHub Actions gives to a step whose working folder lies below the checkout."""
    names = {name: str(folder / name.lower()) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    return {**names, "GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(folder.parent)}


def outputs(text: str) -> dict[str, str]:
    """The outputs as the runner reads them."""
    found = re.findall(r"^(\w+)<<(\S+)\n(.*?)\n\2$", text, re.MULTILINE | re.DOTALL)
    return {name: value for name, _, value in found}


def test_an_apply_that_stops_at_its_plan_has_its_own_comment(cli: Run, project: Path) -> None:
    """An error in the plan: the comment with the pull request's plan is left alone."""
    pinned = STORAGE.format(name="raw").replace("{name: raw}", "{name: raw, id: 999}")
    (project / "manifests" / "raw.yaml").write_text(pinned)
    done = cli("apply", "--auto-approve", "--report", "markdown=-")
    assert done.returncode == 1
    assert done.stdout.startswith("<!-- synapse-apply: target=embedded apply -->\n")
    assert "## Apply failed: Plan for " in done.stdout
    assert "Correct metadata.id" in done.stdout


def test_a_stopped_apply_tells_its_plan(cli: Run, project: Path) -> None:
    """A guard: the JSON is the report of an apply that did nothing, with what it was to do."""
    assert cli("apply", "--auto-approve").returncode == 0
    for file in (project / "manifests").glob("*.yaml"):
        file.write_text("")
    done = cli("apply", "--auto-approve", "--json", "--report", "json=kept.json")
    assert done.returncode == 5, done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads((project / "kept.json").read_text())
    Draft202012Validator(read_schema("report")).validate(report)
    assert (report["exit_code"], report["complete"], report["outcomes"]) == (5, False, [])
    assert report["plan"]["base"]["target"] == "embedded"
    assert report["plan"]["summary"]["forget"] == 3
    assert any("--override-guard no-manifests" in one["detail"] for one in report["diagnostics"])


def test_an_apply_of_a_plan_with_errors_has_one_shape(cli: Run, project: Path) -> None:
    """The JSON document of an apply is a report, also where the plan has errors, each told once."""
    pinned = STORAGE.format(name="raw").replace("{name: raw}", "{name: raw, id: 999}")
    (project / "manifests" / "raw.yaml").write_text(pinned)
    printed = json.loads(cli("apply", "--auto-approve", "--json").stdout)
    assert cli("apply", "--auto-approve", "--report", "json=kept.json").returncode == 1
    for report in (printed, json.loads((project / "kept.json").read_text())):
        Draft202012Validator(read_schema("report")).validate(report)
        assert (report["exit_code"], report["outcomes"]) == (1, [])
        assert report["plan"]["base"]["target"] == "embedded"
        found = [one["hint"] for one in report["diagnostics"] if one["severity"] == "error"]
        assert len(found) == 1
        assert "Correct metadata.id" in found[0]


def test_a_step_of_github_actions(cli: Run, project: Path) -> None:
    """Outputs and summary are added to the runner's files, by plan and then by apply."""
    environ = runner(project)
    (project / "github_step_summary").write_text("# Before\n")
    planned = cli("plan", "--report", "github", "--detailed-exitcode", **environ)
    assert planned.returncode == 2
    found = outputs((project / "github_output").read_text())
    assert (found["add"], found["refused"], found["exit_code"]) == ("3", "0", "2")
    assert found["has_changes"] == "true"
    planned_summary = (project / "github_step_summary").read_text()
    assert "\n\nTo apply: `synapse-apply apply -t " in planned_summary
    cli("apply", "--auto-approve", "--report", "github", **environ)
    summary = (project / "github_step_summary").read_text()
    assert summary.startswith("# Before\n")
    assert summary.index("## Plan for") < summary.index("## Apply for")
    (project / "github_output").unlink()
    assert cli("plan", "--report", "github", **environ).stderr == ""
    assert outputs((project / "github_output").read_text())["has_changes"] == "false"


def test_a_full_summary_stays_as_it_is(cli: Run, project: Path) -> None:
    """GitHub shows nothing of a summary that is too large, so nothing is added to a full one."""
    full = project / "github_step_summary"
    full.write_text("x" * 995_000)
    done = cli("apply", "--auto-approve", "--report", "github", **runner(project))
    assert done.returncode == 0
    assert "Warning: The summary of this step is full" in done.stderr
    assert full.stat().st_size == 995_000
    full.write_text("x" * 950_000)
    cli("plan", "--report", "github", **runner(project))
    assert 950_000 < full.stat().st_size <= 1_000_000


def test_findings_stand_at_their_lines(cli: Run, project: Path) -> None:
    """Errors in a manifest are annotations at the file's name in the repository."""
    raw = project / "manifests" / "raw.yaml"
    raw.write_text(raw.read_text().replace("category", "categry"))
    name = f"{project.name}/manifests/raw.yaml"
    for command in ("validate", "plan"):
        done = cli(command, "--report", "github", *asked("", codequality="cq.json"),
                   **runner(project))  # fmt: skip
        assert done.returncode == 1
        assert re.search(rf"(?m)^::error file={name},line=7,col=3,title=", done.stderr)
        issues = json.loads((project / "cq.json").read_text())
        assert {issue["location"]["path"] for issue in issues} == {name}


def test_a_refusal_stands_at_its_line(cli: Run, project: Path) -> None:
    """What cannot be done is an annotation and an issue; the plan itself succeeds."""
    cli("apply", "--auto-approve")
    raw = project / "manifests" / "raw.yaml"
    raw.write_text(raw.read_text().replace("bucket_name: raw", "bucket_name: other"))
    done = cli("plan", "--report", "github", *asked("", codequality="cq.json", markdown="p.md"))
    assert done.returncode == 0
    assert "::error file=manifests/raw.yaml,line=9,col=5,title=storage/raw cannot be upd" in (
        done.stderr
    )
    assert [issue["severity"] for issue in json.loads((project / "cq.json").read_text())] == [
        "critical"
    ]
    assert "**`storage/raw` cannot be updated**" in (project / "p.md").read_text()


def test_no_value_becomes_a_command(cli: Run, project: Path) -> None:
    """Under GitHub Actions only our annotations begin a line with `::`, on either stream."""
    odd = project / "manifests" / "odd.yaml"
    odd.write_text(HOSTILE.replace("LONG", "한`" * 40_000))
    for typed in (["validate"], ["plan"], ["plan", "--show-unchanged"], ["apply", "--auto-approve"],
                  ["show", "plugin/odd"]):  # fmt: skip
        report = [] if typed[0] == "show" else ["--report", "github=r.md"]
        done = cli(*typed, *report, **runner(project))
        assert done.returncode == 0, done.stderr
        for line in [*done.stdout.split("\n"), *done.stderr.split("\n")]:
            assert not re.match(r"\s*::(?!warning file=[^:]*odd.yaml,line=1,)", line), line
            assert "##[" not in line
        if report:
            text = (project / "r.md").read_text()
            read(text)
            assert not re.search(r"(?m)^\s*::|##\[", text)
    assert "add<<" in (project / "github_output").read_text()
    assert outputs((project / "github_output").read_text())["add"] == "4"


def test_drift_stands_apart(cli: Run, project: Path) -> None:
    """A plan after a change in Git and another one in the backend tells which is which."""
    plugin = project / "manifests" / "other.yaml"
    text = (
        "apiVersion: synapse-apply/v1\nkind: Plugin\nmetadata: {name: other}\n"
        "spec: {name: Other, code: other, author: Vision, description: one}\n"
    )
    plugin.write_text(text)
    assert cli("apply", "--auto-approve").returncode == 0
    other = project.parent / "elsewhere"
    other.mkdir()
    # Another project on the same data, whose state is a copy: somebody else's change.
    (other / "manifests").mkdir()
    (other / "manifests" / "other.yaml").write_text(text.replace("Vision", "Somebody"))
    backup = project / "backup.db"
    assert cli("state", "backup", str(backup)).returncode == 0
    (project / ".synapse-apply").rename(other / ".synapse-apply")
    done = run_in(other, "apply", "-t", "embedded", "--auto-approve", "-f", "manifests/other.yaml")
    assert done.returncode == 0, done.stderr + done.stdout
    (other / ".synapse-apply").rename(project / ".synapse-apply")
    assert cli("state", "restore", str(backup), "--auto-approve").returncode == 0
    plugin.write_text(text.replace("one", "two"))
    (project / "manifests" / "raw2.yaml").write_text(STORAGE.format(name="raw2"))
    assert cli("plan", "--report", "markdown=p.md").returncode == 0
    ours, _, drift = (project / "p.md").read_text().partition("### Drift, not from this change (1)")
    assert '"one" -> "two"' in ours
    assert "Somebody" not in ours
    assert '"Somebody" -> "Vision"' in drift
