"""What a controller of many targets costs: its share of a processor, its memory, how late it looks.

    python tests/benchmarks/controller_looks.py --targets 1000 --minutes 20 --interval 10m

All targets are of one repository and one backend, declare the same four storages, and have a state
each, a copy of the first. Processor time and memory are those of the controller and its workers
(proc_pid_stat(5)). A look is as late as it ended after its due time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from many_states import BIN, serve_backend

TICKS, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


class Usage(NamedTuple):
    """Of one process: its parent, its processor seconds and its memory in MB."""

    parent: int
    seconds: float
    memory: float


def read_processes(root: int) -> dict[int, Usage]:
    """A process and all below it."""
    found = {}
    names = [entry.name for entry in Path("/proc").iterdir()]
    for name in filter(str.isdigit, names):
        with suppress(OSError):
            text = Path("/proc", name, "stat").read_text(encoding="utf-8", errors="replace")
            fields = text.rpartition(")")[2].split()
            seconds = (int(fields[11]) + int(fields[12])) / TICKS
            found[int(name)] = Usage(int(fields[1]), seconds, int(fields[21]) * PAGE / 1e6)
    below, added = {root}, 1
    while added:
        added = len(below)
        below |= {process for process, usage in found.items() if usage.parent in below}
        added = len(below) - added
    return {process: found[process] for process in below & found.keys()}


def write_project(folder: Path, states: Path, url: str, count: int) -> None:
    for number in range(4):
        spec = {"name": f"S{number}", "provider": "file_system", "category": "internal"}
        document = {
            "apiVersion": "synapse-apply/v1", "kind": "Storage",
            "metadata": {"name": f"s{number}"},
            "spec": {**spec, "configuration": {"base_path": f"/data/{number}"}},
        }  # fmt: skip
        path = folder / "manifests" / f"s{number}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(document))
    target = {"url": url, "tenant": "default", "token": {"env": "LOAD_TOKEN"}}
    targets = {
        f"t{number:05}": {**target, "state": {"url": str(states / f"t{number:05}.db")}}
        for number in range(count)
    }
    project = {"apiVersion": "synapse-apply/v1", "kind": "Project", "manifests": ["manifests/"]}
    (folder / "synapse-apply.yaml").write_text(json.dumps({**project, "targets": targets}))


def watch(process: subprocess.Popen[bytes], store: Path, minutes: float) -> None:
    seconds, memory, due, late = dict[int, float](), [0.0], dict[str, tuple[float, float]](), []
    begun = time.monotonic()
    while time.monotonic() - begun < minutes * 60 and process.poll() is None:
        time.sleep(1)
        usages = read_processes(process.pid)
        seconds |= {number: usage.seconds for number, usage in usages.items()}
        memory.append(sum(usage.memory for usage in usages.values()))
        with suppress(sqlite3.Error):
            with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as database:
                rows = database.execute("SELECT target, due_at, looked_at FROM targets").fetchall()
            for name, due_at, looked_at in rows:
                before = due.get(name, (0.0, looked_at))
                if before[1] != looked_at and before[0]:
                    late.append(looked_at - before[0])
                due[name] = (due_at, looked_at)
    share = 100 * sum(seconds.values()) / (time.monotonic() - begun)
    late.sort()
    print(f"CPU {share:.1f} % of a processor, memory at most {max(memory):.0f} MB")
    if late:
        most, median, p99 = late[-1], late[len(late) // 2], late[int(len(late) * 0.99)]
        print(f"{len(late)} looks, late by {median:.1f} s (median), {p99:.1f} (99 %), {most:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--interval", default="10m")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, checkout, states = Path(folder), Path(folder, "checkout"), Path(folder, "states")
        checkout.mkdir()
        with serve_backend(root) as (url, environ):

            def run(*command: str | Path) -> None:
                subprocess.run(command, cwd=checkout, env=environ, check=True, capture_output=True)

            write_project(checkout, states, url, chosen.targets)
            run("git", "init", "-q", "-b", "main")
            run("git", "add", "-A")
            run("git", "commit", "-qm", "All of it")
            run(BIN / "synapse-apply", "state", "init", "-t", "t00000")
            run(BIN / "synapse-apply", "apply", "-t", "t00000", "--auto-approve")
            for number in range(1, chosen.targets):
                shutil.copy(states / "t00000.db", states / f"t{number:05}.db")
            source = {
                "url": str(checkout), "hosts": [url.partition("//")[2]],
                "may_read": {"env": ["LOAD_*"], "files": [f"{states}/"]},
                "targets": {"*": {"mode": "observe", "interval": chosen.interval}},
            }  # fmt: skip
            settings = {
                "apiVersion": "synapse-apply/v1", "kind": "Controller",
                "metadata": {"name": "load"}, "sources": {"load": source},
                "listen": "127.0.0.1:0",
            }  # fmt: skip
            (root / "controller.yaml").write_text(json.dumps(settings))
            typed = [BIN / "synapse-apply", "controller", "run", root / "controller.yaml"]
            process = subprocess.Popen(
                [*typed, "--data", root / "store"], env=environ, stderr=subprocess.DEVNULL
            )
            watch(process, root / "store" / "controller.db", chosen.minutes)
            process.send_signal(signal.SIGTERM)
            process.wait(30)


if __name__ == "__main__":
    main()
