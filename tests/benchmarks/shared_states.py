"""What a state without a server costs: a first apply into a bucket and into Git, beside SQLite.

    python tests/benchmarks/shared_states.py

prints, for each place of a state, the wall and processor seconds of a first apply of storages, of an
apply of one changed storage and of a plan, with what the place was asked: PUTs of links, other
requests, pushes. The bucket is a SeaweedFS behind a proxy that delays each PUT, the repository has a
hook that delays each push. Then a state of many records is read by a plan of nothing.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measuring import Run
from benchmarks.worlds import STORAGES, Shape, World
from buckets.proxy import BucketProxy
from buckets.servers import SeaweedServer

GIT_VARIABLES = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    **{f"GIT_{role}_{part}": "x" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")},
}


@dataclass(frozen=True)
class Place:
    """Where a state is. `count` says what was asked of it so far."""

    name: str
    url: str
    variables: dict[str, str]
    count: Callable[[], dict[str, int]]


@contextmanager
def open_bucket(put_seconds: float) -> Iterator[Place]:
    with ExitStack() as stack:
        server = SeaweedServer()
        stack.callback(server.remove)
        server.start()
        proxy = BucketProxy(server.port)
        stack.callback(proxy.close)
        proxy.choose = lambda method, _path: put_seconds if method == "PUT" else None

        def count() -> dict[str, int]:
            links = sum(m == "PUT" and "/links/" in path for m, path in proxy.requests)
            return {"links": links, "other requests": len(proxy.requests) - links}

        yield Place("bucket", server.url(port=proxy.port), server.environ, count)


@contextmanager
def open_repository(push_seconds: float) -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder, "state.git")
        subprocess.run(["git", "init", "-q", "--bare", bare], check=True)
        log = Path(folder, "pushes")
        log.touch()
        hook = bare / "hooks" / "pre-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\necho push >> {log}\nsleep {push_seconds}\n")
        hook.chmod(0o755)
        pushes = lambda: {"pushes": len(log.read_text().splitlines())}  # noqa: E731
        yield Place("git", f"git:file://{bare}", GIT_VARIABLES, pushes)


@contextmanager
def open_database() -> Iterator[Place]:
    yield Place("sqlite", "", {}, dict)


def make_world(folder: Path, place: Place, size: int) -> World:
    """A project whose state is at the place; nothing is live."""
    world = World(folder, Shape("storages", (STORAGES,)), size)
    key = base64.b64encode(b"k" * 32).decode()
    world.environ |= {**place.variables, "SYNAPSE_APPLY_STATE_KEY": key}
    file = world.project / "synapse-apply.yaml"
    project = json.loads(file.read_text())
    if place.url:
        project["targets"]["bench"]["state"] = {"url": place.url}
    file.write_text(json.dumps(project))
    world.empty()
    return world


def show(place: Place, what: str, typed: list[str], world: World) -> Run:
    before = place.count()
    done = world.ours(*typed)
    asked = {name: number - before.get(name, 0) for name, number in place.count().items()}
    counts = ", ".join(f"{number} {name}" for name, number in asked.items())
    print(
        f"{place.name:8} {what:24} {done.wall:7.2f} s  CPU {done.cpu:5.2f} s  {counts}", flush=True
    )
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1000, help="storages of a first apply")
    parser.add_argument("--records", type=int, default=10_000, help="of the state that is read")
    parser.add_argument("--latency", type=float, default=20, help="of the backend, in ms")
    parser.add_argument("--put", type=float, default=30, help="of a PUT, in ms")
    parser.add_argument("--push", type=float, default=700, help="of a push, in ms")
    parser.add_argument("--places", nargs="+", default=["sqlite", "bucket", "git"])
    chosen = parser.parse_args()
    opened = {
        "sqlite": open_database,
        "bucket": lambda: open_bucket(chosen.put / 1000),
        "git": lambda: open_repository(chosen.push / 1000),
    }
    walls = {}
    for name in chosen.places:
        with opened[name]() as place, tempfile.TemporaryDirectory() as folder:
            world = make_world(Path(folder, "first"), place, chosen.size)
            with world.serving(chosen.latency):
                apply = ["apply", "--auto-approve"]
                walls[name] = show(place, f"first apply of {chosen.size}", apply, world).wall
                world.change(1 / chosen.size)
                show(place, "one changed", apply, world)
                show(place, "a plan", ["plan"], world)
    for name in set(walls) - {"sqlite"} if "sqlite" in walls else ():
        print(f"first apply, {name} beside sqlite: {walls[name] / walls['sqlite']:.2f} x")
    for name in chosen.places:
        if name == "sqlite":
            continue
        with opened[name]() as place, tempfile.TemporaryDirectory() as folder:
            world = make_world(Path(folder, "many"), place, chosen.records)
            with world.serving(0):
                show(place, f"first apply of {chosen.records}", ["apply", "--auto-approve"], world)
                show(place, f"{chosen.records} read", ["state", "show"], world)


if __name__ == "__main__":
    main()
