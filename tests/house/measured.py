"""In every process of a measured copy (house/copies.py): records what runs, and for which test.

A process is often started without the variables of its test, or forked from one that served others: a
file with the id of an ancestor tells the test. PYTEST_DONT_REWRITE: it is there before pytest is.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import coverage

HERE = Path(__file__).parent


def find_test() -> None:
    """Ask the ancestors for whom this process works; those from before any test do not know."""
    process = os.getpid()
    with suppress(OSError):
        while not (file := HERE / "running" / str(process)).exists():
            status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
            process = int(status.rpartition(")")[2].split()[1])  # proc_pid_stat(5)
        name_test(file.read_text(encoding="utf-8"))


def name_test(test: str) -> None:
    measurement = coverage.Coverage.current()
    if measurement and measurement.get_option("run:branch") is False:
        measurement.switch_context(test)


def pytest_runtest_logstart(nodeid: str) -> None:
    """As a plugin of pytest, which this is as well."""
    (HERE / "running" / str(os.getpid())).write_text(nodeid, encoding="utf-8")
    name_test(nodeid)


def pytest_runtest_logreport(report: Any) -> None:
    with (HERE / "reports").open("a", encoding="utf-8") as file:
        file.write(json.dumps([report.nodeid, report.duration, report.outcome]) + "\n")


if coverage.process_startup(force=True):
    os.register_at_fork(after_in_child=find_test)
    find_test()
