"""Commands that read several targets: which, in which order, one report, the worst exit code."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from e2e.fleet.conftest import TENANTS, break_target
from e2e.scenarios.workplace import QUIET, Ran, Server, Workplace, held
from forking import ForkedProcess
from in_process import read_schema
from installed import BIN
from stopping import meets_fault

from synapse_apply import SynapseApplyError, open_targets


def list_headings(ran: Ran) -> list[str]:
    return [line[4:-4] for line in ran.out.splitlines() if line.startswith("==> ")]


def check_document(document: Any) -> dict[str, Any]:
    """The parts of a document that fits its schema, by target."""
    jsonschema.validate(document, read_schema("targets"))
    return {part["target"]: part for part in document["targets"]}


@pytest.mark.parametrize(
    ("typed", "targets"),
    [
        (["-t", "*"], ["acme", "beta", "canary"]),
        (["-t", "canary", "-t", "*"], ["canary", "acme", "beta"]),
        (["-t", "beta", "-t", "acme"], ["beta", "acme"]),
        (["-t", "b*a"], ["beta"]),
        (["-t", "tier=standard"], ["beta", "canary"]),
        (["-t", "tier=*", "-t", "beta"], ["acme", "beta", "canary"]),
        (["-t", "*a*,tier=gold"], ["acme"]),
        (["-t", "tier=standard,c*"], ["canary"]),
    ],
    ids=" ".join,
)
def test_which_targets_are_meant(declared: Workplace, typed: list[str], targets: list[str]) -> None:
    """By pattern, by label, by both, in the order of -t and then by name; each once."""
    ran = declared.run("validate", *typed, code=0)
    assert list_headings(ran) == targets
    assert ran.out.endswith(f"\nTargets: {len(targets)}.\n")
    document = declared.run("validate", *typed, "--json", code=0).document
    assert list(check_document(document)) == targets


def test_one_name_alone_is_one_target(declared: Workplace) -> None:
    """So a script that names a target goes on reading the document of one."""
    assert list_headings(declared.run("validate", "-t", "beta", code=0)) == []
    assert "valid" in declared.run("validate", "-t", "beta", "--json", code=0).document


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["-t", "prod-*"], "none of 3 declared targets matches `prod-*`"),
        (["-t", "acm*s"], "did you mean `acme`?"),
        (["-t", "tier=silver"], "did you mean `tier="),
        (["-t", "acme", "-t", "bta"], "there is no target `bta`"),
    ],
    ids=" ".join,
)
def test_what_means_no_target(declared: Workplace, typed: list[str], said: str) -> None:
    """The command does nothing for the others, and a program gets its document."""
    ran = declared.run("plan", *typed, code=1)
    assert said in ran.err
    assert ran.out == ""
    document = declared.run("plan", *typed, "--json", code=1).document
    assert check_document(document) == {}
    assert said in json.dumps(document["diagnostics"])


def test_a_target_that_fails_hides_no_other(fleet: Workplace) -> None:
    """All are planned; the failure names its target, and the exit code is the worst."""
    break_target(fleet, "beta")
    ran = fleet.plan("-t", "*", "--detailed-exitcode", code=1)
    assert list_headings(ran) == list(TENANTS)
    assert ran.out.count("Plan: 1 to add, 0 to change, 0 to destroy.") == 2
    assert "target beta" in ran.err
    assert "TOKEN_beta is not set" in ran.err
    assert ran.out.endswith("\nTargets: 3. Exit code 1: beta. Exit code 2: acme, canary.\n")
    document = fleet.plan("-t", "*", "--detailed-exitcode", "--json", code=1).document
    parts = check_document(document)
    assert {name: part["exit_code"] for name, part in parts.items()} == {
        "acme": 2,
        "beta": 1,
        "canary": 2,
    }
    assert parts["beta"]["document"]["errored"]
    assert parts["acme"]["document"]["summary"]["add"] == 1


def test_reports_of_several(fleet: Workplace) -> None:
    """One of each kind, and of HTML a page a target."""
    break_target(fleet, "beta")
    outputs = fleet.root / "outputs"
    fleet.environ["GITHUB_OUTPUT"] = str(outputs)
    kinds = {"json": "p.json", "markdown": "p.md", "html": "out/p.html", "gitlab": "p.gitlab"}
    reports = [f"--report={kind}={file}" for kind, file in kinds.items()]
    fleet.plan("-t", "*", *reports, "--report=github", code=1)
    parts = check_document(json.loads((fleet.root / "p.json").read_text()))
    assert parts["canary"]["document"]["summary"]["add"] == 1
    text = (fleet.root / "p.md").read_text()
    assert text.startswith("<!-- synapse-apply: targets=%2A -->\n\n## Plan of 3 targets\n")
    assert "| `beta` | 1 | error |\n| `acme` | 0 | 1 to add |\n" in text
    assert text.count("<!-- ") == 1
    assert text.index("## Plan failed") < text.index("## Plan for `acme`")
    names = sorted(path.name for path in (fleet.root / "out").iterdir())
    assert names == ["p.acme.html", "p.beta.html", "p.canary.html"]
    assert json.loads((fleet.root / "p.gitlab").read_text()) == {}
    lines = outputs.read_text().splitlines()
    values = {lines[n].partition("<<")[0]: lines[n + 1] for n in range(0, len(lines), 3)}
    assert (values["add"], values["exit_code"], values["has_changes"]) == ("2", "1", "true")


def test_drift_and_other_readers(fleet: Workplace) -> None:
    """Each gives a part a target; drift's exit code is that of any that drifted."""
    fleet.run("apply", "-t", "*", "--auto-approve", code=0)
    document = fleet.run("drift", "-t", "*", "--detailed-exitcode", "--json", code=0).document
    assert [part["document"]["drifted"] for part in document["targets"]] == [False] * 3
    for words in (
        ["doctor"], ["get", "storages"], ["show", "storage/raw-data"], ["state", "show"],
        ["state", "history"], ["state", "show", "storage/raw-data"],
    ):  # fmt: skip
        ran = fleet.run(*words, "-t", "tier=standard")
        assert list_headings(ran) == ["beta", "canary"], words
        parts = check_document(fleet.run(*words, "-t", "tier=standard", "--json").document)
        assert all(part["document"] for part in parts.values()), words


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["plan", "-t", "*", "--out", "x.plan"], "--out works only with one target"),
        (["drift", "-t", "*", "--write", "*"], "--write works only with one target"),
        (
            ["apply", "-t", "*", "--auto-approve", "--json-lines"],
            "--json-lines works only with one",
        ),
        (["apply", "-t", "*", "x.plan"], "a PLAN works only with one target"),
        (["apply", "-t", "a", "-t", "b", "--reviewed", "x.plan"], "--reviewed works only with one"),
        (["state", "rm", "-t", "*", "storage/x"], "`state rm` needs one target"),
        (["export", "-t", "acme", "-t", "beta"], "`export` needs one target"),
        (["plan", "-t", "*", "--report=html=-"], "one page per target"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_goes_with_one_target_alone(declared: Workplace, typed: list[str], said: str) -> None:
    assert said in declared.run(*typed, code=64).err


def test_several_are_read_in_a_script(fleet: Workplace) -> None:
    """The library has the same selection, and reads the project file once."""
    project_file = fleet.root / "synapse-apply.yaml"
    adds = {}
    for target in open_targets(["tier=gold", "c*"], folder=fleet.root, environ=fleet.environ):
        adds[target.name] = target.plan().summary.add
        if project_file.exists():
            project_file.rename(fleet.root / "moved")
    assert adds == {"acme": 1, "canary": 1}
    (fleet.root / "moved").rename(project_file)
    with pytest.raises(SynapseApplyError, match="No target matches"):
        next(open_targets(["x*"], folder=fleet.root))


def test_targets_and_labels_are_completed(declared: Workplace) -> None:
    given = {
        "_SYNAPSE_APPLY_COMPLETE": "bash_complete",
        "COMP_WORDS": "synapse-apply plan -t tier",
        "COMP_CWORD": "3",
    }
    declared.environ.update(given)
    words = [line.partition(",")[2] for line in declared.run().out.split()]
    assert words == ["tier=gold", "tier=standard"]


def test_locked_states_hold_up_their_own_targets(fleet: Workplace) -> None:
    """Exit code 6 is worse than 1; the other targets are applied with --keep-going."""
    break_target(fleet, "canary")
    with held(fleet, "beta"):
        ran = fleet.run(
            "apply", "-t", "*", "--auto-approve", "--lock-timeout", "0", "--keep-going", code=6
        )
    assert "Apply complete! Resources: 1 added" in ran.out
    assert ran.out.endswith("\nTargets: 3. Exit code 6: beta. Exit code 1: canary.\n")


def test_a_report_does_not_take_the_place_of_the_list(fleet: Workplace) -> None:
    ran = fleet.plan("-t", "*", "--report=markdown=tenants.yaml", code=1)
    assert "is a list of targets" in ran.err
    assert Path(fleet.root / "tenants.yaml").read_text().startswith("- {name: acme")


def test_a_signal_ends_all_with_one_document(fleet: Workplace, server: Server) -> None:
    """What was begun is told, and who had no turn; nobody else is asked."""
    rule = {"match": {"path": "/storages/*", "from": 2}, "do": {"hang": 60}}
    server.call("PUT", "_emulator/faults/", {"rules": [rule]})
    process = ForkedProcess(
        [BIN / "synapse-apply", "plan", "-t", "acme", "-t", "beta", "-t", "canary", "--json"],
        cwd=fleet.root,
        env={**QUIET, **fleet.environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    meets_fault(server, process)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    document = json.loads(out)
    parts = check_document(document)
    assert {name: part["exit_code"] for name, part in parts.items()} == {"acme": 0, "beta": 130}
    assert (document["not_begun"], document["exit_code"]) == (["canary"], 130)
