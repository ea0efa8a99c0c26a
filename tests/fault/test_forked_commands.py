"""A command that is forked (forking.py) is the installed command: the controls of these tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import forking
import pytest
from fault.commands import COMMAND, FOREVER, applying, ended, kill, reaches
from fault.convergence import Row, converge
from fault.scenarios import requests_of
from fault.site import COUNTS, MakeSite
from forking import ForkedProcess
from installed import environment

PROCESS_TYPES = [subprocess.Popen, ForkedProcess]
# What a process can see of itself.
SURROUNDINGS = """
import gc, json, os, signal, sys, threading
print(json.dumps({
    "arguments": sys.argv,
    "name": __name__,
    "folder": os.getcwd(),
    "environment": dict(sorted(os.environ.items())),
    "parent": os.getppid(),
    "group": os.getpgid(0),
    "session": os.getsid(0),
    "files": sorted(os.listdir("/proc/self/fd"), key=int),
    "threads": threading.active_count(),
    "signals": {s.name: str(signal.getsignal(s)) for s in sorted(signal.valid_signals())
                if isinstance(s, signal.Signals)},
    "collects": gc.isenabled(),
    "streams": [[s.isatty(), s.encoding, s.errors, s.line_buffering]
                for s in (sys.stdin, sys.stdout, sys.stderr)],
    "input": sys.stdin.read(),
}))
sys.stderr.write("and an error\\n")
sys.exit(5)
"""


def run(
    process_type: type[subprocess.Popen[str]], *command: str, folder: Path
) -> tuple[int, str, str]:
    with process_type(
        command,
        cwd=folder,
        env=environment({"ONLY": "here"}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        out, err = process.communicate("typed", timeout=60)
    return process.returncode, out, err


def test_it_sees_what_a_new_process_sees(tmp_path: Path) -> None:
    """Arguments, environment, folder, streams, files, signals; and its exit code is its own."""
    command = (sys.executable, "-c", SURROUNDINGS, "an argument")
    new, fork = (run(process_type, *command, folder=tmp_path) for process_type in PROCESS_TYPES)
    assert json.loads(fork[1])["parent"] == os.getpid()
    assert fork == new
    assert fork[0] == 5


@pytest.mark.parametrize(
    "typed", ["--version", "plan --json", "no-such-command", "state show release/a"]
)
def test_it_says_and_ends_the_same(typed: str, tmp_path: Path) -> None:
    """In a folder without a project; most of these are errors."""
    new, fork = (
        run(process_type, *COMMAND, *typed.split(), folder=tmp_path)
        for process_type in PROCESS_TYPES
    )
    assert fork == new


@pytest.mark.parametrize(
    "typed",
    [
        "-c import sys;print(sys.argv,sys.path[0:]);sys.exit(3)",
        "-m synapse_apply plan",
        "{script} a",
    ],
)
def test_a_program_that_forks_is_the_isolated_interpreter(typed: str, tmp_path: Path) -> None:
    """To a script that starts it: neither its folder nor PYTHONPATH is looked into."""
    script = tmp_path / "script.py"
    script.write_text("import sys; print(sys.argv, sys.path, __name__, input()); sys.exit('no')")
    words = typed.format(script=script).split(" ", 1 if typed.startswith("-c") else -1)
    new, fork = (
        run(subprocess.Popen, str(python), "-I", *words, folder=tmp_path)
        for python in (sys.executable, forking.programs() / "python")
    )
    assert fork == new


def test_what_a_script_becomes_is_such_a_program(tmp_path: Path) -> None:
    """As the action's script becomes the command: its words, its exit code, and all is imported."""
    script = tmp_path / "script.py"
    code = "import sys; print(sys.argv, 'synapse_apply' in sys.modules); sys.exit(3)"
    script.write_text(
        f"import os, sys; os.execv(sys.executable, [sys.executable, '-I', '-c', {code!r}, 'a'])"
    )
    new, fork = (
        run(subprocess.Popen, str(python), "-I", str(script), folder=tmp_path)
        for python in (sys.executable, forking.programs() / "python")
    )
    assert new == (3, "['-c', 'a'] False\n", "")
    assert fork == (3, "['-c', 'a'] True\n", "")


def test_its_arguments_are_those_that_others_see(tmp_path: Path) -> None:
    """In /proc, as `ps` shows them."""
    script = "print(open('/proc/self/cmdline').read().rstrip(chr(0)))"
    command = (sys.executable, "-c", script, "an argument")
    new, fork = (run(process_type, *command, folder=tmp_path) for process_type in PROCESS_TYPES)
    assert fork == new
    assert fork[1].split("\0")[-1] == "an argument\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_the_same(number: int, tmp_path: Path) -> None:
    """Its exit status is that of the process itself."""
    command = (sys.executable, "-c", f"import os; os.kill(os.getpid(), {int(number)})")
    new, fork = (run(process_type, *command, folder=tmp_path)[0] for process_type in PROCESS_TYPES)
    assert fork == new


@pytest.mark.parametrize("by_fork", [False, True])
def test_it_makes_the_same_requests(
    by_fork: bool, api: str, profile: str, make_site: MakeSite
) -> None:
    """As many as an apply in this process, and the same result."""
    count = requests_of(make_site, "first-apply", api, profile, 2)
    site = make_site(groups=2)
    site.server.faults(COUNTS)
    with applying(site, by_fork=by_fork) as process:
        code, out, _ = ended(process)
    assert (code, json.loads(out)["counts"]["added"]) == (0, 6)
    assert site.server.counts()[0]["seen"] == count


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("by_fork", [False, True])
def test_it_is_killed_at_a_write_all_the_same(
    by_fork: bool, moment: str, make_site: MakeSite, row: Row
) -> None:
    """The same write of the state, and the same number of intents stays open."""
    site = make_site(groups=2)
    altered: dict[str, Any] = {"signal": signal.SIGKILL, "nth": 4, "moment": moment}
    with applying(site, by_fork=by_fork, **altered) as process:
        assert process.wait(60) == -signal.SIGKILL
    # The 4th write settles the second call.
    counts = (len(site.records()), len(site.open_intents()))
    assert counts == ((2, 0) if moment == "after" else (1, 1))
    converge(site, None, row)


@pytest.mark.parametrize("commit", ["before", "after"])
@pytest.mark.parametrize("by_fork", [False, True])
def test_it_is_killed_at_a_request_all_the_same(
    by_fork: bool, commit: str, make_site: MakeSite, row: Row
) -> None:
    """While the server has the second create, and nobody gets its answer."""
    site = make_site(groups=2)
    rule = {"method": "POST", "nth": 2}
    site.server.faults({"match": rule, "do": {"hang": FOREVER, "commit": commit}})
    with applying(site, by_fork=by_fork) as process:
        reaches(site.server, process)
        assert kill(process)
    assert (len(site.records()), len(site.open_intents())) == (1, 1)
    assert len(site.server.ids()) == (2 if commit == "after" else 1)
    converge(site, None, row)
