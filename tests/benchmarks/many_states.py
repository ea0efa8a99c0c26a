"""What it takes to create the states of many new tenants: `state init -t '*'`, and the controller.

    python tests/benchmarks/many_states.py --sizes 100 1000

All tenants are rows of one list, of one backend, with a state each in a file. Prints wall-clock and
processor seconds, the ratio to what one state costs at the smallest size, and to a minute.
`controller` is one round of `controller run --once` in mode auto with `create_state`, which also
makes one storage for each.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BIN = Path(sys.executable).parent
GIT = {f"GIT_{role}_{part}": "x" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}


@contextmanager
def serve_backend(root: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The url of an emulator with its data in a folder, and the environment for its users."""
    environ = {
        **{name: text for name, text in os.environ.items() if not name.startswith("SYNAPSE")},
        **GIT, "LOAD_TOKEN": "load", "XDG_CACHE_HOME": str(root / "cache"),
    }  # fmt: skip
    served = [BIN / "synapse-apply", "emulator", "--port", "0", "--any-token"]
    backend = subprocess.Popen(
        [*served, "--data", root / "data"], stdout=subprocess.PIPE, text=True, env=environ
    )
    try:
        assert backend.stdout is not None
        words = backend.stdout.readline().split()
        yield next(word for word in words if word.startswith("http")), environ
    finally:
        backend.terminate()
        backend.wait(30)


def write_project(checkout: Path, states: Path, url: str, count: int) -> None:
    template = {
        "url": url, "tenant": "${row.name}", "token": {"env": "LOAD_TOKEN"},
        "state": {"url": f"{states}/${{row.name}}.db"},
    }  # fmt: skip
    listed = {"file": "tenants.yaml", "template": template}
    project = {"apiVersion": "synapse-apply/v1", "kind": "Project", "manifests": ["manifests/"]}
    (checkout / "synapse-apply.yaml").write_text(json.dumps({**project, "targets_from": listed}))
    rows = [{"name": f"t{number:05}"} for number in range(count)]
    (checkout / "tenants.yaml").write_text(json.dumps(rows))
    spec = {"name": "S", "provider": "file_system", "category": "internal"}
    document = {
        "apiVersion": "synapse-apply/v1", "kind": "Storage", "metadata": {"name": "s"},
        "spec": {**spec, "configuration": {"base_path": "/data"}},
    }  # fmt: skip
    (checkout / "manifests").mkdir()
    (checkout / "manifests" / "s.yaml").write_text(json.dumps(document))


def write_controller(root: Path, checkout: Path, states: Path, url: str) -> None:
    source = {
        "url": str(checkout), "hosts": [url.partition("//")[2]],
        "may_read": {"env": ["LOAD_*"], "files": [f"{states}/"]},
        "targets": {"*": {"mode": "auto", "create_state": True}},
    }  # fmt: skip
    settings = {
        "apiVersion": "synapse-apply/v1", "kind": "Controller", "metadata": {"name": "load"},
        "sources": {"load": source}, "listen": "127.0.0.1:0",
    }  # fmt: skip
    (root / "controller.yaml").write_text(json.dumps(settings))


def measure(way: str, count: int) -> tuple[float, float]:
    """Wall-clock and processor seconds of one way; all states have to be there after it."""
    with tempfile.TemporaryDirectory() as folder:
        root, checkout, states = Path(folder), Path(folder, "checkout"), Path(folder, "states")
        checkout.mkdir()
        states.mkdir()
        with serve_backend(root) as (url, environ):
            write_project(checkout, states, url, count)
            for typed in ("init -q -b main", "add -A", "commit -qm Tenants"):
                subprocess.run(["git", *typed.split()], cwd=checkout, env=environ, check=True)
            typed = ["state", "init", "-t", "*"]
            if way == "controller":
                write_controller(root, checkout, states, url)
                typed = ["controller", "run", "--once", str(root / "controller.yaml")]
                typed += ["--data", str(root / "store")]
            before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            done = subprocess.run(
                [BIN / "synapse-apply", *typed],
                cwd=checkout, env=environ, check=False, capture_output=True, text=True,
            )  # fmt: skip
            wall, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
            made = len(list(states.glob("*.db")))
            if done.returncode or made != count:
                raise SystemExit(f"{made} of {count} states\n{done.stdout}\n{done.stderr}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--ways", nargs="+", default=["init", "controller"])
    chosen = parser.parse_args()
    print("| way | states | wall, s | CPU, s | CPU a state, ms (ratio) | wall / 60 s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for way in chosen.ways:
        first = 0.0
        for count in chosen.sizes:
            wall, cpu = measure(way, count)
            one = 1000 * cpu / count
            first = first or one
            print(
                f"| `{way}` | {count:,} | {wall:.1f} | {cpu:.1f} | {one:.1f} ({one / first:.2f}) "
                f"| {wall / 60:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
