"""What earlier versions wrote is worked with: plans applied, calls recovered, states compared."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from frozen.make import OWN, STORED_AS, VARIABLES
from frozen.samples import PLAN_ID
from in_process import run_command

from synapse_apply.model import codec
from synapse_apply.model.address import Address
from synapse_apply.model.job import LastRun, RunStatus
from synapse_apply.stores.sqlite.sqlite_database import make_unopened_sqlite_store

FILES = Path(__file__).resolve().parent / "2026-11"
DOCUMENTS = FILES / "documents"
Typed = Callable[..., str]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The frozen project with its state and its backend, as their user's own files."""
    root = tmp_path / "project"
    shutil.copytree(FILES / "project", root)
    (root / STORED_AS).rename(root / OWN)
    for path in (root / OWN, *(root / OWN).rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    for name in ("next.plan", "packed.plan"):
        shutil.copy(FILES / name, root)
    for name in os.environ:
        if name.startswith(("SYNAPSE_", "GITHUB_", "CI")):
            monkeypatch.delenv(name)
    for name, value in {**VARIABLES, "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def typed(root: Path, capsys: pytest.CaptureFixture[str]) -> Typed:
    """A command in the project; what it printed."""

    def type_command(words: str, code: int = 0) -> str:
        ended = run_command([*words.split(), "-t", "embedded"])
        output = capsys.readouterr()
        assert ended == code, output.out + output.err
        return output.out

    return type_command


def assert_applied(typed: Typed) -> None:
    """What the plan wanted is live, once, and nothing is left to do."""
    rows = json.loads(typed("state show --json"))
    assert "storage/late" in json.dumps(rows)
    assert "release/echo@1.1.0" in json.dumps(rows)
    typed("plan --detailed-exitcode")
    assert '"Says it twice"' in typed("show plugin/echo --json")


@pytest.mark.parametrize(
    ("command", "again"), [("apply next.plan", 4), ("apply --reviewed next.plan", 0)]
)
def test_a_saved_plan_is_applied(typed: Typed, command: str, again: int) -> None:
    """Signed by the frozen key, over the frozen state and backend; once, or as reviewed."""
    typed(command)
    assert_applied(typed)
    typed(command, again)


@pytest.mark.parametrize("command", ["apply", "apply --reviewed", "show"])
def test_a_plan_with_packages_is_refused(typed: Typed, command: str) -> None:
    """Format 2, of `plan --with-packages`: what to do is said, and nothing is done."""
    (finding,) = json.loads(typed(f"{command} packed.plan --json", 1))["diagnostics"]
    assert "packed.plan: it contains packages, which plans no longer do." in finding["detail"]
    assert "keep the package folder next to the file" in finding["hint"]
    assert "storage/late" not in typed("state show --json")


def test_unrecorded_calls_are_recovered(typed: Typed, root: Path) -> None:
    """The state learns what they did; the plan has spoken of the file before."""
    name = f"unrecorded-embedded-{PLAN_ID}.jsonl"
    path = root / OWN / name
    shutil.copy(FILES / name, path)
    path.chmod(0o600)
    assert "An earlier run could not record what it did" in typed("plan --json")
    output = typed(f"state record {OWN}/{name}")
    assert "Recorded create of storage/archive (id 12)." in output
    assert '"id": "12"' in typed("state show storage/archive --json")
    assert not path.exists()


def test_a_state_that_is_older_than_what_was_seen_is_told(typed: Typed, root: Path) -> None:
    """By what is noted beside the project."""
    (ahead,) = FILES.glob("ahead-*.json")
    path = root / OWN / "seen" / ahead.name.removeprefix("ahead-")
    assert path.exists()
    shutil.copy(ahead, path)
    path.chmod(0o600)
    assert "This state is older than the last one seen here" in typed("plan --json", 1)


def test_an_open_run_is_found_by_its_mark(typed: Typed, root: Path) -> None:
    """The job on the frozen backend bears the id of the call in its context."""
    intent = codec.intent_from_json(json.loads((FILES / "run-intent.json").read_text()))
    context = json.loads((FILES / "run-context.json").read_text())
    assert context == {"project_id": 123, "x-synapse-apply-run": intent.id}
    release = Address.parse("release/echo@1.0.0")
    with closing(make_unopened_sqlite_store(root / OWN / "state" / "embedded.db")) as store:
        with store.lock("a test"):
            store.open_intent_and_use_up_its_approvals(intent)
        typed("state settle")
        record = store.find_record(release)
        assert store.read_state().open_intents == ()
        assert "settled: done" in store.list_audit_entries_newest_first(1)[0].result
    assert record is not None
    last = LastRun.from_json_or_none(record.verification)
    assert last is not None
    assert (last.result, last.job) == (RunStatus.RUNNING, "1")


def test_documents_say_what_they_said(typed: Typed) -> None:
    """`--json` of plan, show, state and history: all that stood there; more may stand there now."""
    for name, command in {
        "plan.json": "plan --json",
        "show.json": "show storage/raw --json",
        "state-list.json": "state show --json",
        "state-show.json": "state show release/echo@1.0.0 --json",
        "history.json": "state history --json",
    }.items():
        document = json.loads(typed(command))
        if name == "plan.json":
            take_warning_of_format_out(document)
        assert_has(document, json.loads((DOCUMENTS / name).read_text()), name)
    assert typed("state show --inventory") == (DOCUMENTS / "inventory.yaml").read_text()


def take_warning_of_format_out(document: dict[str, Any]) -> None:
    """Before the first write a plan tells of the backup that leads back to the earlier version."""
    (told,) = document["diagnostics"]
    assert told["summary"].startswith("The state has the format of an earlier version")
    assert "`synapse-apply state backup FILE -t embedded`" in told["hint"]
    document["diagnostics"] = []


# What each plan has of its own.
_OWN = ("plan.json.plan_id", "plan.json.timestamp")


def assert_has(document: Any, frozen: Any, path: str) -> None:
    """All values of a document, at their places, are those of the frozen one."""
    if isinstance(frozen, dict):
        assert isinstance(document, dict), path
        assert frozen.keys() <= document.keys(), path
        for key, value in frozen.items():
            assert_has(document[key], value, f"{path}.{key}")
    elif isinstance(frozen, list):
        assert isinstance(document, list), path
        assert len(document) == len(frozen), path
        for index, value in enumerate(frozen):
            assert_has(document[index], value, f"{path}[{index}]")
    elif path not in _OWN:
        assert document == frozen, path


def test_a_report_has_the_same_keys(typed: Typed, root: Path) -> None:
    """An apply's document: every key that stood there does, with the same type."""
    typed("apply --auto-approve --report json=report.json")
    report = json.loads((root / "report.json").read_text())
    take_warning_of_format_out(report)
    was = json.loads((DOCUMENTS / "report.json").read_text())
    assert shape_of(was) <= shape_of(report)


def shape_of(document: Any, path: str = "") -> set[str]:
    """Every key of a document with the type of its value."""
    if isinstance(document, dict):
        below = [shape_of(value, f"{path}.{key}") for key, value in document.items()]
    elif isinstance(document, list):
        below = [shape_of(value, f"{path}[]") for value in document]
    else:
        return {f"{path}: {type(document).__name__}"}
    return set().union(*below) or {path}


def test_a_comment_is_found_by_its_marker(typed: Typed, root: Path) -> None:
    """The first line, by which the comment of an earlier version is replaced."""
    typed("plan --report markdown=plan.md")
    frozen = (DOCUMENTS / "plan.md").read_text()
    assert frozen.startswith("<!-- synapse-apply: target=embedded -->\n")
    assert (root / "plan.md").read_text().partition("\n")[0] == frozen.partition("\n")[0]


def test_a_lost_state_is_made_again_from_an_inventory(typed: Typed, root: Path) -> None:
    """The rows lead to the live objects, and the next apply does what it would have done."""
    (root / OWN / "state" / "embedded.db").unlink()
    shutil.copy(DOCUMENTS / "inventory.yaml", root)
    typed("state init")
    typed("import -f inventory.yaml")
    typed("apply --auto-approve")
    assert_applied(typed)
