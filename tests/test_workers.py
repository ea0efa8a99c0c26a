"""`pytest --workers N` runs and reports what `pytest` does, whatever becomes of a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from pathlib import Path

from workers import Files

TESTS = Path(__file__).resolve().parent
SUITE = """
import os, pathlib, pytest

LOG = pathlib.Path(__file__).with_name("log")

@pytest.fixture(scope="session")
def postgres():
    with LOG.open("a") as log:
        log.write("server made\\n")

@pytest.mark.parametrize("number", range(40))
def test_passes(number, tmp_path):
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")

@pytest.mark.parametrize("number", range(40))
def test_of_a_server(number, postgres):
    pass

@pytest.mark.parametrize("number", range(20))
@pytest.mark.one_process("of one")
def test_of_one_process(number):
    with LOG.open("a") as log:
        log.write(f"of one: {os.getpid()}\\n")

def test_fails(capfd):
    os.write(1, b"what it wrote")
    assert capfd.readouterr().out == "what it wrote"
    assert 1 + 1 == 3

@pytest.mark.parametrize("number", range(20))
def test_dies(number):
    if number == 3:
        os.kill(os.getpid(), 9)

def test_ends_badly(request):
    pass

@pytest.fixture(autouse=True)
def fails_at_the_end(request):
    yield
    assert "badly" not in request.node.name
"""


def run_suite(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_suite.py").write_text(SUITE)
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "workers", "-p", "no:cacheprovider"),
            *("-q", "-rfE", *options, str(folder)),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(TESTS), "SYNAPSE_APPLY_TEST_DEEP": "0"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_every_test_is_run_and_what_ends_badly_is_told(tmp_path):
    """One server for all; of a process that dies one test failed, and the rest of its tests run."""
    done = run_suite(tmp_path, "--workers", "3")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 failed, 120 passed, 1 error in" in done.stdout
    assert "E       assert (1 + 1) == 3" in done.stdout
    assert "FAILED test_suite.py::test_dies[3] - The process of this test ended with" in done.stdout
    assert "ERROR test_suite.py::test_ends_badly" in done.stdout
    assert (tmp_path / "log").read_text().count("server made") == 1
    of_one = [line for line in (tmp_path / "log").read_text().splitlines() if "of one" in line]
    assert len(of_one) == 20
    assert len(set(of_one)) == 1


def test_the_first_failure_ends_it_where_asked(tmp_path):
    done = run_suite(tmp_path, "--workers", "2", "-x", "-k", "fails or dies")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "stopping after 1 failures" in done.stdout


def test_no_worker_is_started_that_has_nothing_to_run(tmp_path):
    """Tests of servers are for the one that has them, however long they take."""
    (tmp_path / "conftest.py").write_text(
        "import os, pathlib\n"
        "def pytest_sessionfinish():\n"
        "    pathlib.Path(__file__).with_name(f'ended-{os.getpid()}').touch()\n"
    )
    done = run_suite(tmp_path, "--workers", "3", "-k", "of_a_server or fails")
    assert "1 failed, 40 passed" in done.stdout, done.stdout
    ended = len(list(tmp_path.glob("ended-*")))
    assert ended == 3, "the first process, and two workers"


def test_a_file_is_for_one_worker_until_others_have_nothing_left():
    """What the tests of a file share is then made once, and all workers end together."""
    files = Files()
    for file in ([[1], [2], [3]], [[4], [5]], [[6]]):
        files.add(deque(file))
    first, second, third = (files.take_next_or_longest() for _ in range(3))
    assert [first.popleft(), second.popleft(), third.popleft()] == [[1], [4], [6]]
    assert files.take_next_or_longest() is first
    first.clear()
    assert files.take_next_or_longest() is second
    second.clear()
    assert not files
    assert not files.take_next_or_longest()


def test_what_a_test_records_at_its_end_is_in_the_summary(tmp_path):
    """The table that ends `make test-deep` is made of it."""
    (tmp_path / "conftest.py").write_text(
        "import pytest\n"
        "@pytest.fixture(autouse=True)\n"
        "def records(request, record_property):\n"
        "    yield\n"
        "    if request.node.name == 'test_passes[7]':\n"
        "        record_property('row', 'a row of its own')\n"
        "def pytest_terminal_summary(terminalreporter):\n"
        "    for reports in terminalreporter.stats.values():\n"
        "        for report in reports:\n"
        "            for _, text in getattr(report, 'user_properties', ()):\n"
        "                terminalreporter.write_line(text)\n"
    )
    done = run_suite(tmp_path, "--workers", "2", "-k", "test_passes")
    assert "40 passed" in done.stdout, done.stdout
    assert done.stdout.count("a row of its own") == 1
