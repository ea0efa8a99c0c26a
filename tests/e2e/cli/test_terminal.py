"""A person at a terminal: the question, the answers, Ctrl-C, colour."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from at_terminal import run_at_terminal
from forking import ForkedProcess

from .conftest import SECRETS, environment


def at_a_terminal(folder: Path, answer: bytes, *typed: str, **environ: str) -> tuple[int, str]:
    """Exit code and everything shown; the answer is typed when the question is there."""
    return run_at_terminal(folder, answer, environment(**SECRETS, **environ), *typed)


@pytest.mark.parametrize(("answer", "code"), [(b"yes\n", 0), (b"\x03", 130)], ids=["yes", "Ctrl-C"])
def test_a_fork_shows_what_the_installed_command_shows(
    project: Path, tmp_path_factory: pytest.TempPathFactory, answer: bytes, code: int
) -> None:
    """All others here and elsewhere are forks; also the colours are those of a terminal."""
    ends = []
    for process_type in (subprocess.Popen, ForkedProcess):
        copy = tmp_path_factory.mktemp("copy") / "project"
        shutil.copytree(project, copy)
        environ = environment(**SECRETS)
        typed = ("apply", "--parallelism", "1")
        ended, shown = run_at_terminal(copy, answer, environ, *typed, process_type=process_type)
        # How often bars are drawn depends on the time that the calls take.
        lines = [
            re.sub(r"\x1b\[(\?25[hl]|\d*[A-K])", "", line)
            for line in re.sub(r"\d+\.\d+s", "SECONDS", shown).splitlines()
            if "Creating..." not in line
        ]
        ends.append((ended, [line for line in lines if line]))
    assert ends[0] == ends[1]
    assert ends[0][0] == code
    created = ["Creation complete after SECONDS" in line for line in ends[0][1]]
    assert sum(created) == (3 if code == 0 else 0)
    assert any("\x1b[" in line for line in ends[0][1])


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (b"yes\n", 0, "Apply complete! Resources: 3 added"),
        (b"y\n", 1, "Apply cancelled. Nothing was sent."),
        (b"no\n", 1, "Apply cancelled. Nothing was sent."),
        (b"\x04", 1, "Apply cancelled. Nothing was sent."),
        (b"\x03", 130, "Interrupted.\nNothing was sent."),
    ],
    ids=["yes", "y", "no", "end of input", "Ctrl-C"],
)
def test_only_yes_applies(project: Path, answer: bytes, code: int, said: str) -> None:
    """Anything else sends nothing; Ctrl-C at the question is 130."""
    done, shown = at_a_terminal(project, answer, "apply", "--color=never")
    assert (done, said in shown) == (code, True), shown
    assert "Only 'yes' will be accepted to approve." in shown


def test_a_terminal_has_colour(project: Path) -> None:
    """And none with NO_COLOR."""
    assert "\x1b[" in at_a_terminal(project, b"", "plan")[1]
    assert "\x1b" not in at_a_terminal(project, b"", "plan", NO_COLOR="1")[1]


def test_input_0_asks_nobody(project: Path) -> None:
    """SYNAPSE_APPLY_INPUT=0 makes a terminal as good as none."""
    done, shown = at_a_terminal(project, b"", "apply", SYNAPSE_APPLY_INPUT="0")
    assert done == 1
    assert "Approval is required, but there is no terminal" in shown
