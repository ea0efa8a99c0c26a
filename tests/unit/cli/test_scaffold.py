"""First manifests are valid as they are written, and nothing is overwritten."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from in_process import run_command
from installed import ROOT

from synapse_apply import Invocation, validate

PROVIDERS = sorted(
    path.name.partition(".")[0] for path in (ROOT / "schemas" / "v1" / "providers").iterdir()
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plugin_folder(root: Path, name: str, config: str) -> Path:
    folder = root / "plugins" / name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(config)
    (folder / "main.py").write_text("print(1)\n")
    return folder


def findings(folder: Path) -> list[str]:
    return [str(found) for found in validate(Invocation(folder, environ={})).diagnostics]


def fill_in(folder: Path, manifest: Path) -> None:
    """What is left open is refused, at its line, and nothing else is; then write all of it."""
    text = manifest.read_text()
    found = validate(Invocation(folder, environ={})).diagnostics
    open_lines = [n for n, line in enumerate(text.split("\n"), 1) if ": CHANGE-ME" in line]
    kept = [n for n in open_lines if not text.split("\n")[n - 1].lstrip().startswith("#")]
    assert {one.summary for one in found} <= {"Value not filled in"}
    assert [one.position.line for one in found if one.position] == kept
    manifest.write_text(text.replace("CHANGE-ME", "filled-in"))
    assert findings(folder) == []


def schema_of(file: Path) -> dict[str, object]:
    """The schema that a file's first line leads an editor to."""
    first = file.read_text().split("\n")[0]
    start = "# yaml-language-server: $schema="
    assert first.startswith(start)
    found: dict[str, object] = json.loads((file.parent / first.removeprefix(start)).read_text())
    return found


def test_the_schema_line_of_what_is_printed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is right in the folder of manifests, and nothing is written."""
    run_command(["init", "plugin", "yolo"])
    line = "# yaml-language-server: $schema=.schema/manifest.schema.json\n"
    assert capsys.readouterr().out.startswith(line)
    assert not list(here.iterdir())


def test_a_schema_that_is_there_stays(here: Path) -> None:
    """And none is written through a link of the checkout."""
    kept = here / "manifests/.schema/manifest.schema.json"
    kept.parent.mkdir(parents=True)
    kept.write_text('{"title": "mine"}')
    run_command(["init", "plugin", "yolo", "--out", "manifests/a.yaml"])
    assert schema_of(here / "manifests/a.yaml") == {"title": "mine"}
    (here / "elsewhere").mkdir()
    (here / "other").mkdir()
    (here / "other/.schema").symlink_to("../elsewhere")
    run_command(["init", "plugin", "sam", "--out", "other/sam.yaml"])
    assert not list((here / "elsewhere").iterdir())


def test_a_second_init_writes_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A project that is there is named and left alone."""
    run_command(["init"])
    (here / "synapse-apply.yaml").write_text("mine")
    assert run_command(["init"]) == 1
    assert "There is already a project" in capsys.readouterr().err
    assert (here / "synapse-apply.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    "config",
    [
        "name: Yolo\ncode: yolo\nversion: 1.0.0\n",
        "name: Yolo\ncode: yolo\n",
        "{}\n",
        "code: 욜로\n",
    ],
)
def test_a_plugin_folder_becomes_a_plugin_and_a_release(here: Path, config: str) -> None:
    """What config.yaml lacks is written, what it has is taken from there."""
    plugin_folder(here, "Yolo V8", config)
    assert run_command(["init", "--from", "plugins/Yolo V8"]) == 0
    # That the package itself lacks them is said of the package, and is no error here.
    lacking = [f"package:{key}" for key in ("name", "code") if f"{key}:" not in config]
    told = validate(Invocation(here, environ={})).diagnostics
    assert [(one.severity.value, one.rule) for one in told] == [("warning", one) for one in lacking]
    counts = validate(Invocation(here, environ={})).counts
    assert counts == {"embedded": 2}


def test_a_plugin_is_added_to_a_project(here: Path) -> None:
    """Inside a project only the manifests are new."""
    run_command(["init"])
    plugin_folder(here, "yolo", "name: Yolo\nversion: 1.0.0\n")
    assert run_command(["init", "--from", "plugins/yolo"]) == 0
    assert run_command(["init", "--from", "plugins/yolo"]) == 1
    assert validate(Invocation(here, environ={})).counts == {"embedded": 3}


@pytest.mark.parametrize(
    ("project", "next_step"),
    [
        ("default_target: prod\ntargets: {prod: {}, dev: {}}", "`plan` shows .* on target prod."),
        ("targets: {dev: {}}", "`plan` shows .* on target dev."),
        ("targets: {prod: {}, dev: {}}", "`plan -t TARGET` shows .* on that target."),
        ("default_target: embedded\ntargets: {prod: {}}", "`plan` shows .* on target embedded."),
    ],
)
def test_what_is_said_next_is_what_the_next_plan_uses(
    here: Path, capsys: pytest.CaptureFixture[str], project: str, next_step: str
) -> None:
    """A project that is there may have targets of its own."""
    text = f"apiVersion: synapse-apply/v1\nkind: Project\n{project}\n"
    (here / "synapse-apply.yaml").write_text(text)
    plugin_folder(here, "yolo", "name: Yolo\nversion: 1.0.0\n")
    assert run_command(["init", "--from", "plugins/yolo"]) == 0
    said = capsys.readouterr().out
    assert re.search(f"Next: {next_step}".replace("`plan", "`synapse-apply plan"), said), said


def test_a_folder_outside_the_project_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A manifest may not name it, so it is said at once."""
    inside = here / "project"
    inside.mkdir()
    plugin_folder(here, "yolo", "name: Yolo\n")
    assert run_command(["init", "-C", "project", "--from", str(here / "plugins/yolo")]) == 1
    assert "outside the project" in capsys.readouterr().err
    assert not list(inside.iterdir())


def test_a_folder_that_is_not_there_is_named(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written for it."""
    assert run_command(["init", "--from", "nowhere"]) == 1
    assert "nowhere is not a folder" in capsys.readouterr().err
    assert not list(here.iterdir())


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_new_storage_is_valid(here: Path, provider: str) -> None:
    """Each provider's manifest passes its own schema once filled in, secrets by reference."""
    out = here / "manifests" / "it.yaml"
    assert run_command(["init", "storage", "it", "--provider", provider, "--out", str(out)]) == 0
    fill_in(here, out)


def test_a_new_plugin_and_its_release_are_valid(here: Path) -> None:
    """They name each other."""
    plugin_folder(here, "yolo", "name: yolo\ncode: yolo\nversion: 1.2.0\n")
    assert run_command(["init", "plugin", "yolo", "--out", "manifests/yolo.yaml"]) == 0
    assert run_command(["init", "release", "yolo@1.2.0", "--out", "manifests/yolo-1.2.0.yaml"]) == 0
    fill_in(here, here / "manifests" / "yolo.yaml")


def test_a_file_is_never_overwritten(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--out refuses a file that is there."""
    (here / "mine.yaml").write_text("mine")
    assert run_command(["init", "plugin", "yolo", "--out", "mine.yaml"]) == 1
    assert "mine.yaml was not changed" in capsys.readouterr().err
    assert (here / "mine.yaml").read_text() == "mine"


@pytest.mark.parametrize("name", ["Yolo", "-x", "a@1", "x" * 64])
def test_a_name_that_cannot_be_one_is_refused(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a name that could be."""
    assert run_command(["init", "plugin", "--", name]) == 1
    assert "synapse-apply init plugin " in capsys.readouterr().err
    assert not list(here.iterdir())
