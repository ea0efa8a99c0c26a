"""A mistyped command line is exit 64, never the 2 that means changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from in_process import run_command

WRONG = [
    ["plam"],
    ["--nope"],
    ["plan", "--nope"],
    ["plan", "--parallelism", "0"],
    ["plan", "--parallelism", "many"],
    ["plan", "--var", "=x"],
    ["plan", "--var", "count"],
    ["plan", "--color", "pink"],
    ["plan", "-C", "/no/such/folder"],
    ["state"],
    ["state", "lst"],
    ["state", "mv", "plugin/yolo", "no-slash"],
    ["state", "settle", "--absent"],
    ["state", "settle", "plugin/yolo", "--absent", "--job", "12"],
    ["state", "settle", "plugin/yolo", "--absent", "--json"],
    ["import"],
    ["import", "plugin/yolo"],
    ["init", "bucket", "x"],
    ["init", "plugin", ""],
    ["state", "init", "--lineage", "nonsense"],
    ["state", "backup", "--to", "{file: state.url}"],
    ["state", "backup", "--to", "{env: NAME, file: x}"],
    ["state", "backup", "--to", "{env: 9}"],
    ["emulator", "--switch", "nothing"],
    ["run"],
    ["run", "@1.0"],
    ["run", "yolo@"],
    ["run", "release/yolo"],
    ["run", "yolo@1", "--version", "2"],
    ["run", "yolo", "-p", "quality"],
    ["run", "yolo", "-p", "a=1", "-p", "a=2"],
    ["run", "yolo", "--params-file", "/no/such/file"],
    ["run", "yolo", "--timeout", "5"],
    ["run", "yolo", "--follow", "--timeout", "0"],
    ["run", "yolo", "--agent", "x"],
    ["jobs"],
    ["get", "jobs", "--status", "odd"],
    ["get", "jobs", "--created-after", "soon"],
    ["get", "jobs", "--limit", "0"],
    ["get", "storages", "--status", "running"],
    ["get", "jobs", "--expand", "logs"],
    ["controller", "rollout", "approve"],
    ["controller", "rollout", "abort", "fleet"],
    ["controller", "rollout", "resume", "fleet", "--wave", "2"],
    ["controller", "rollout", "status", "--reason", "x"],
    ["controller", "run", "--worker", "--once"],
    ["state", "show", "plugin/yolo", "--inventory"],
    ["plan", "--graph", "--json"],
    ["validate", "--graph", "--json"],
    ["get", "job", "1", "--expand", "everything"],
    ["jobs", "logs", "1", "--tail", "-1"],
    ["plan", "--out", "-"],
    ["get"],
    ["get", "bucket"],
    ["get", "plugin/yolo", "yolo"],
    ["get", "storages", "--plugin", "yolo"],
    [],
]


@pytest.fixture(autouse=True)
def _away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("typed", WRONG, ids=" ".join)
def test_a_wrong_command_line_is_64(typed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The message is on stderr, stdout stays empty, nothing is written."""
    assert run_command(typed) == 64
    out, err = capsys.readouterr()
    assert out == ""
    assert "synapse-apply" in err
    assert not list(Path().iterdir())


def test_a_port_of_the_controller_stands_in_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["controller", "run", "--port", "9000"]) == 64
    assert "Set `listen` in controller.yaml" in capsys.readouterr().err


def test_a_near_command_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A typing error is answered with what was meant."""
    run_command(["aply"])
    assert "Did you mean 'apply'?" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["SYNAPSE_APPLY_ARGS", "SYNAPSE_APPLY_ARGS_plan"])
def test_a_variable_that_gave_options_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipeline that sets it must not run without its options; empty, or for help, it is nothing."""
    monkeypatch.setenv(name, "--only storage")
    assert run_command(["plan"]) == 64
    assert f"{name} is set" in capsys.readouterr().err
    assert run_command(["--help"]) == 0
    monkeypatch.setenv(name, " ")
    assert run_command(["version"]) == 0


@pytest.mark.parametrize("level", ["verbose", "5"])
def test_an_unknown_log_level_is_named(
    level: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A level nobody knows is a usage error, not silence."""
    monkeypatch.setenv("SYNAPSE_APPLY_LOG", level)
    assert run_command(["version"]) == 64
    assert "SYNAPSE_APPLY_LOG must be one of trace" in capsys.readouterr().err


def test_where_the_id_of_a_lock_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Who unlocks without an id reads where to find it."""
    assert run_command(["state", "unlock"]) == 64
    written = " ".join(capsys.readouterr().err.split())
    assert "The message about the lock shows its id, and so does `doctor`." in written


def test_a_guard_nobody_knows_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """It names those there are."""
    assert run_command(["plan", "--override-guard", "nope"]) == 64
    said = " ".join(capsys.readouterr().err.split())
    assert "the guards are no-manifests, all-missing, mass-missing, recreate, adopt." in said
