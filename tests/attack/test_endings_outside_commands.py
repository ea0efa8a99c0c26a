"""What goes wrong before, after or beside a command ends in words and in an exit code of ours."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from forking import ForkedProcess, run_to_end
from installed import BIN, environment

from synapse_apply.cli import main as entry
from synapse_apply.cli import registry, start
from synapse_apply.cli.errors import build_failure_findings
from synapse_apply.cli.help_pages import CommandEntry, Terminated
from synapse_apply.model import paused_collection

TOOL = str(BIN / "synapse-apply")
OURS = (0, 1, 2, 3, 4, 5, 6, 7, 64, 130, 141, 143)


def run(arguments, folder, given=None):
    """Run the installed command with arguments of bytes; its end must be one of ours."""
    done = subprocess.run(
        [TOOL, *arguments],
        cwd=folder,
        env={
            os.fsencode(k): os.fsencode(v) for k, v in {**environment({}), **(given or {})}.items()
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    told = (done.stdout + done.stderr).decode("utf-8", "replace")
    check_end(done.returncode, told)
    return done.returncode, told


def check_end(code, told):
    """It ended with a code of ours, and in words."""
    assert code in OURS, (code, told)
    assert "Traceback" not in told
    assert "internal error" not in told


@pytest.mark.parametrize(
    ("arguments", "given", "code"),
    [
        ([b"validate", b"-t", b"\xff\xfe"], {}, 1),
        ([b"validate", b"--var", b"\xffa=\xfe", b"-C", b"\xff"], {}, 64),
        ([b"\xff\xfe"], {}, 64),
        (["validate", "-t", "한국어"], {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}, 1),
        (["validate"], {"SYNAPSE_APPLY_LOG": b"\xff"}, 64),
        (["plan"], {"SYNAPSE_HOST": b"http://\xff", "SYNAPSE_ACCESS_TOKEN": b"\xfe"}, 1),
        (["plan", "-t", "embedded"], {"SYNAPSE_APPLY_HOSTS": b"\xff", "HOME": "/dev/null"}, 0),
        ([], {"_SYNAPSE_APPLY_COMPLETE": b"\xff"}, 1),
        ([], {"_SYNAPSE_APPLY_COMPLETE": "zsh_complete", "COMP_WORDS": b"synapse-apply \xff", "COMP_CWORD": "9" * 30}, 1),
        (["version"], {"COLUMNS": "x", "LC_ALL": "xx_XX.UTF-8"}, 0),
    ],
)  # fmt: skip
def test_bytes_that_are_no_text(tmp_path, arguments, given, code):
    project = "apiVersion: synapse-apply/v1\nkind: Project\n"
    (tmp_path / "synapse-apply.yaml").write_text(project)
    (tmp_path / "manifests").mkdir()
    assert run(arguments, tmp_path, given)[0] == code


@pytest.mark.parametrize("arguments", [["validate"], ["validate", "--json"], ["init"], ["version"]])
def test_the_working_folder_is_removed(tmp_path, arguments):
    """Told in each form; what needs no folder works."""
    script = f'cd "{tmp_path}" && mkdir gone && cd gone && rmdir ../gone && exec "$0" "$@"'
    done = subprocess.run(
        ["sh", "-c", script, TOOL, *arguments],
        env=environment({}), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if arguments == ["version"]:
        assert done.returncode == 0
        return
    assert done.returncode == 1
    assert "The working folder cannot be used" in done.stdout + done.stderr
    assert "internal error" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "process_type"),
    [
        (["--help"], 1, ForkedProcess),
        (["validate"], 1, subprocess.Popen),
        (["no-such-command"], 64, ForkedProcess),
    ],
)
@pytest.mark.parametrize("where", ["stdout", "stderr", "both"])
def test_a_full_disk_takes_the_output(tmp_path, arguments, code, process_type, where):
    """The exit code is the one of the command, or that its output is lost."""
    (tmp_path / "manifests").mkdir()
    manifest = "apiVersion: synapse-apply/v1\nkind: Plugin\nmetadata: {name: a}\nspec: {name: A}\n"
    (tmp_path / "manifests" / "a.yaml").write_text(manifest)
    with Path("/dev/full").open("w") as full:
        streams = {name: full for name in ("stdout", "stderr") if where in (name, "both")}
        done = run_to_end([TOOL, *arguments], tmp_path, environment({}), process_type, **streams)
    check_end(done.returncode, (done.stdout or "") + (done.stderr or ""))
    assert done.returncode == (code if code == 64 or where != "stderr" else 0)


class Broken(Exception):
    """With a text that must not be printed."""


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (Broken("hunter2"), 1, "Error: internal error\n  Broken at "),
        (
            ModuleNotFoundError("hunter2", name="yaml"),
            1,
            "The installation is incomplete\n  yaml cannot",
        ),
        (MemoryError("hunter2"), 1, "There is not enough memory"),
        (RecursionError("hunter2"), 1, "internal error"),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (Terminated(), 143, "Terminated."),
    ],
)
def test_a_command_cannot_be_imported(monkeypatch, capsys, raised, code, said):
    """Commands are imported when they run, outside of what words their failures."""

    def failing(_name):
        raise raised

    monkeypatch.setattr("synapse_apply.cli.help_pages.import_module", failing)
    assert entry.run(["plan"]) == code
    told = capsys.readouterr().err
    assert said in told
    assert "hunter2" not in told


def test_a_command_that_the_table_has_and_the_installation_lacks(monkeypatch, capsys):
    monkeypatch.setitem(
        registry.COMMANDS, "gone", CommandEntry("synapse_apply.cli.commands.gone", "Gone.")
    )
    assert entry.run(["gone"]) == 1
    assert "synapse_apply.cli.commands.gone cannot be imported" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("raised", "code"), [(KeyboardInterrupt(), 130), (ImportError(name="click"), 1)]
)
def test_the_first_import_is_cut_short(monkeypatch, capsys, raised, code):
    """Ctrl-C in the first moments, or half an installation."""

    class Finder:
        @staticmethod
        def find_spec(name, *_):
            if name == "synapse_apply.cli.main":
                raise raised

    # The garbage of this process is not the command's to set up.
    monkeypatch.setattr(paused_collection, "tune_collector_for_command", lambda: None)
    monkeypatch.delitem(sys.modules, "synapse_apply.cli.main")
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        start.main()
    assert ended.value.code == code
    assert "Traceback" not in capsys.readouterr().err


def test_the_command_begins_where_imports_are_watched():
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["scripts"] == {"synapse-apply": "synapse_apply.cli.start:main"}


def test_a_thread_that_fails_prints_no_values(monkeypatch, capsys):
    monkeypatch.setattr(threading, "excepthook", entry._print_thread_failure)

    def failing():
        raise Broken("hunter2")

    thread = threading.Thread(target=failing)
    thread.start()
    thread.join()
    told = capsys.readouterr().err
    assert "Broken at test_endings_outside_commands.py" in told
    assert "hunter2" not in told


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (MemoryError(), "There is not enough memory"),
        (OSError(24, "Too many open files", "x.yaml"), "x.yaml: Too many open files"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError(30, "Read-only file system", "x"), "x: Read-only file system"),
    ],
)
def test_a_machine_that_has_no_more_of_it(raised, said):
    """Nobody's defect, so nobody is asked to report it."""
    (found,), code = build_failure_findings(raised)
    assert code == 1
    assert said in f"{found.summary} {found.detail}"
    assert "defect" not in found.detail
