"""Completion as a shell has it: a real bash reads the script, and somebody presses Tab."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from e2e.test_readme import with_forked_commands
from installed import BIN

from .conftest import Run, environment

ASKED = r"""
source ./tab.bash
for line in "$@"; do
    spaced="${line//=/ = }" # as readline cuts it
    read -ra COMP_WORDS <<< "$spaced"
    case $line in *[[:space:]]) COMP_WORDS+=("") ;; esac
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
    _synapse_apply_completion synapse-apply 2>stderr
    printf '%s\n' "$line|${COMPREPLY[*]}|$(cat stderr)"
done
"""
PROJECT = """\
apiVersion: synapse-apply/v1
kind: Project
manifests: [manifests/]
targets: {prod: {url: "https://unreachable.invalid", tenant: acme}, staging: {url: "https://s.invalid"}}
"""


def shell(**more: str) -> Mapping[str, str]:
    found = {k: v for k, v in environment(**more).items() if not k.startswith("BASH_")}
    return {**found, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture
def offered(cli: Run, project: Path) -> Callable[..., dict[str, list[str]]]:
    """What bash would offer for each line, in one bash; it must not be disturbed by anything."""
    (project / "tab.bash").write_text(cli("completion", "bash").stdout)

    def ask(*lines: str) -> dict[str, list[str]]:
        done = subprocess.run(
            ["bash", "--norc", "-c", ASKED, "-", *lines],
            cwd=project, env=with_forked_commands(shell()), capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        rows = [row.split("|") for row in done.stdout.splitlines()]
        assert [row[2] for row in rows] == [""] * len(lines)
        return {row[0]: row[1].split() for row in rows}

    return ask


def test_commands_and_options(offered: Callable[..., dict[str, list[str]]]) -> None:
    """What begins as it was typed, of the group that is meant."""
    found = offered(
        "synapse-apply pl", "synapse-apply state re", "synapse-apply plan --no-",
        "synapse-apply nothing --x", "synapse-apply completion ",
    )  # fmt: skip
    assert list(found.values()) == [
        ["plan"],
        ["rekey", "restore"],
        ["--no-verify", "--no-package-check", "--no-adopt"],
        [],
        ["bash", "zsh", "fish"],
    ]


def test_targets_and_addresses(offered: Callable[..., dict[str, list[str]]], project: Path) -> None:
    """Names of the project, those with what readline takes for the end of a word among them."""
    (project / "synapse-apply.yaml").write_text(PROJECT)
    labelled = project / "manifests" / "raw.yaml"
    labelled.write_text(
        labelled.read_text().replace(
            "metadata: {name: raw}", 'metadata: {name: raw, labels: {team: vision, odd: "$(ls)"}}'
        )
    )
    found = offered(
        "synapse-apply plan -t s", "synapse-apply plan --target=", "synapse-apply show s",
        "synapse-apply show release/", "synapse-apply plan --only te",
        "synapse-apply plan --only odd", "synapse-apply bump ",
    )  # fmt: skip
    assert list(found.values()) == [
        ["staging"],
        ["prod", "staging", "embedded"],
        ["storage/raw"],
        ["release/yolo@1.0.0"],
        ["team=vision"],
        [],
        ["yolo"],
    ]


def test_addresses_of_the_state(
    cli: Run, offered: Callable[..., dict[str, list[str]]], project: Path
) -> None:
    """Commands on the state are offered what it has, also what no manifest declares any more."""
    assert cli("apply", "--auto-approve").returncode == 0
    (project / "manifests" / "raw.yaml").unlink()
    lines = [
        "synapse-apply state rm s", "synapse-apply state mv s", "synapse-apply state show p",
        "synapse-apply state mv storage/raw s", "synapse-apply import s",
    ]  # fmt: skip
    expected = [["storage/raw"], ["storage/raw"], ["plugin/yolo"], [], []]
    assert list(offered(*lines).values()) == expected
    assert offered("synapse-apply show s")["synapse-apply show s"] == ["storage/raw"]
    state = project / ".synapse-apply" / "state" / "embedded.db"
    for broken in (b"no state", b""):
        state.write_bytes(broken)
        assert list(offered(*lines).values()) == [[]] * len(lines)
    assert state.read_bytes() == b""


def test_a_broken_project_disturbs_nobody(
    offered: Callable[..., dict[str, list[str]]], project: Path
) -> None:
    """What can be read is offered, what cannot is not, and nothing is said."""
    (project / "manifests" / "raw.yaml").write_text("a: [\n\tb")
    assert offered("synapse-apply show ")["synapse-apply show "] == [
        "plugin/yolo",
        "release/yolo@1.0.0",
    ]
    (project / "synapse-apply.yaml").write_text("\0")
    lines = ("synapse-apply show p", "synapse-apply plan -t ", "synapse-apply plan -C none -t ")
    assert list(offered(*lines).values()) == [[], [], []]


@pytest.fixture
def prompt(cli: Run, project: Path) -> Iterator[Callable[[str], str]]:
    """An interactive bash on a terminal; gives the line as it stands after some keys."""
    (project / "tab.bash").write_text(cli("completion", "bash").stdout)
    variables = with_forked_commands(shell(PS1="ready> ", INPUTRC="/dev/null"))
    terminal, theirs = pty.openpty()
    command = ["setsid", "--ctty", "bash", "--norc", "--noprofile", "-i"]
    child = subprocess.Popen(
        command, cwd=project, env=variables, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)

    def until(end: str) -> str:
        seen, limit = "", time.monotonic() + 60
        while end not in seen and time.monotonic() < limit:
            if select.select([terminal], [], [], 0.2)[0]:
                seen += os.read(terminal, 65536).decode()
        assert end in seen, seen
        return seen

    def keys(typed: str) -> str:
        os.write(terminal, f"{typed}\t".encode())
        os.write(
            terminal, b"\x01printf '%s|' \x05 END\r"
        )  # print the words instead of running them
        return until("END|ready> ").rpartition("\n")[2].removesuffix("|ready> ")

    until("ready> ")
    os.write(terminal, b"bind 'set enable-bracketed-paste off'; source ./tab.bash\r")
    until("ready> ")
    yield keys
    os.close(terminal)
    child.wait(60)


def test_tab_on_a_terminal(prompt: Callable[[str], str]) -> None:
    """One Tab completes an address with its version, and an option's value."""
    assert prompt("synapse-apply show rel") == "synapse-apply|show|release/yolo@1.0.0|END"
    assert prompt("synapse-apply plan --only sto") == "synapse-apply|plan|--only|storage|END"


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(cli: Run, name: str) -> None:
    """It is all there is on stdout, and names the command that it completes."""
    done = cli("completion", name)
    assert (done.returncode, done.stderr) == (0, "")
    assert "_SYNAPSE_APPLY_COMPLETE" in done.stdout
    if name == "bash":
        subprocess.run(["bash", "-n"], input=done.stdout, text=True, check=True)


def test_an_answer_imports_no_client(project: Path) -> None:
    """Commands and options are offered at the cost of `--help`; addresses without a network."""
    for line, heavy in (("synapse-apply plan --", "yaml requests"), ("synapse-apply import ", "requests sqlite3"), ("synapse-apply show ", "requests")):  # fmt: skip
        code = (
            "import sys; from synapse_apply.cli.main import run; run([]);"
            f"print('LOADED', *(set({heavy.split()}) & set(sys.modules)))"
        )
        asked = shell(COMP_WORDS=line, COMP_CWORD="2", _SYNAPSE_APPLY_COMPLETE="bash_complete")
        done = subprocess.run(
            [str(BIN / "python"), "-c", code], cwd=project, env=asked, capture_output=True, text=True,
            check=True, timeout=60,
        )  # fmt: skip
        assert done.stdout.splitlines()[-1] == "LOADED"
        assert "plain," in done.stdout


def test_the_script_for_bash_starts_no_bash_of_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = tmp_path / "bin" / "bash"
    planted.parent.mkdir()
    planted.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\necho 5.2.0\n")
    planted.chmod(0o755)
    monkeypatch.setenv("PATH", f"{planted.parent}:{os.environ['PATH']}")
    command = [sys.executable, "-m", "synapse_apply"]
    scripts = [
        subprocess.run(
            [*command, *typed],
            env={**os.environ, **more},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for typed, more in (
            (["completion", "bash"], {}),
            ([], {"_SYNAPSE_APPLY_COMPLETE": "bash_source"}),
        )
    ]
    assert "complete " in scripts[0]
    assert scripts[0].strip() == scripts[1].strip()
    assert not (tmp_path / "started").exists()
