"""What is measured: each work, who does it beside us, and the bounds that we hold ourselves to."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from benchmarks import uploads
from benchmarks.measuring import OURS, Run, run
from benchmarks.worlds import INVENTORY, SHAPES, World

SLOW = 20.0  # ms of latency
LIMIT = 200  # requests per second
_SERIAL_MOST = 1_000
# What a work measures, as the page of costs says it.
MEANINGS = {
    "help": "compared with importing `click` alone",
    "validate": "compared with importing `click`, `yaml` and `jsonschema_rs` alone",
    "plan": "unchanged storages, whole items in lists",
    "plan-short-lists": "the same with short list items: each object is read",
    "plan-changed": "listed plugins, 1 % changed",
    "plan-by-id": "plugins without a list",
    "first-apply": "new storages",
    "limited": "a first apply at 200 requests a second; beyond, the server answers 429 with Retry-After 1, and the tool halves its parallel calls",
    "apply-changed": "as `plan-changed`, and applied",
    "plan-mixed": "as many plugins as storages, both listed, unchanged",
    "first-apply-mixed": "the same resources, all new",
    "import": "`import -f` of an inventory of the same resources",
    "plan-v2": "plugins on API v2, listed by cursors of 200; `cursors.py pages` only reads the pages",
    "apply-changed-v2": "the same, 1 % changed, and applied",
    "upload": "a release of this many MiB, to a server that reads 200 MB a second; `plan` runs before the upload",
}
MOST_BESIDE = 10_000  # resources; beyond, we are measured alone


@dataclass(frozen=True, slots=True)
class Work:
    """`typed` is our command; `peers` are scripts of `peers/`, or modules to import alone.

    `changed` is the share of the manifests that differs from what is live. `is_first`: nothing
    is live. `is_unrecorded`: all is live, nothing recorded, and an inventory has the ids.
    `writes`: each run begins with the same data. `limit`: so many requests per second are borne,
    and answered 429 with Retry-After 1 beyond. `sizes` are measured unless others are named.
    """

    name: str
    shape: str
    typed: tuple[str, ...]
    peers: tuple[str, ...] = ()
    imports: str = ""
    changed: float = 0.0
    is_first: bool = False
    is_unrecorded: bool = False
    writes: bool = False
    limit: int = 0
    sizes: tuple[int, ...] = (100, 1_000, 10_000)
    latencies: tuple[float, ...] = (0.0, SLOW)
    needs_backend: bool = True


_PLAN = ("plan", "--parallelism", "16")
_APPLY = ("apply", "--auto-approve", "--parallelism", "16")
WORKS = {
    work.name: work
    for work in (
        Work(
            "help", "lists-whole", ("--help",), imports="click", needs_backend=False, sizes=(100,)
        ),
        Work(
            "validate",
            "lists-whole",
            ("validate",),
            imports="click, yaml, jsonschema_rs",
            needs_backend=False,
            sizes=(100, 10_000, 100_000),
        ),
        Work("plan", "lists-whole", _PLAN, ("lists",), sizes=(100, 1_000, 10_000, 100_000)),
        Work("plan-short-lists", "lists-short", _PLAN, ("threaded",)),
        Work("plan-changed", "lists-plugins", _PLAN, ("lists",), changed=0.01),
        Work("plan-by-id", "by-id", _PLAN, ("threaded", "serial")),
        Work("first-apply", "lists-whole", _APPLY, ("threaded",), is_first=True, writes=True),
        Work(
            "limited",
            "lists-whole",
            _APPLY,
            is_first=True,
            writes=True,
            limit=LIMIT,
            sizes=(2_000,),
        ),
        Work("apply-changed", "lists-plugins", _APPLY, ("lists",), changed=0.01, writes=True),
        Work("plan-mixed", "mixed", _PLAN, ("lists",), sizes=(1_000, 10_000)),
        Work(
            "first-apply-mixed",
            "mixed",
            _APPLY,
            ("threaded",),
            is_first=True,
            writes=True,
            sizes=(1_000, 10_000),
            latencies=(SLOW,),
        ),
        Work(
            "import",
            "mixed",
            ("import", "-f", INVENTORY, "--parallelism", "16"),
            is_unrecorded=True,
            writes=True,
            sizes=(1_800, 18_000),
            latencies=(0.0,),
        ),
        Work("plan-v2", "lists-v2", _PLAN, ("cursors", "cursors:pages")),
        Work("apply-changed-v2", "lists-v2", _APPLY, ("cursors",), changed=0.01, writes=True),
        # `sizes` are MiB of one package.
        Work("upload", "", _APPLY, ("upload",), writes=True, sizes=(1_024,), latencies=(0.0,)),
    )
}


class How(Enum):
    """What is held against a bound, of ours and another's figure."""

    ALONE = ""
    RATIO = "/"
    EXTRA = "beyond"


@dataclass(frozen=True, slots=True)
class Bound:
    """The most that a figure may be: of ours alone, or beside `against`.

    With `plus` the other's figure counts together with ours at that latency in ms. With `than` it
    is held against ours at that size.
    """

    work: str
    size: int
    latency: float
    figure: str
    most: float
    against: str = ""
    how: How = How.ALONE
    plus: float | None = None
    than: int = 0

    def __str__(self) -> str:
        other = f" {self.how.value} {self.against}" if self.against else ""
        if self.plus is not None:
            other = f" / ({self.against} + ours at {self.plus:g} ms)"
        if self.than:
            other = f" / ours of {self.than:,}"
        return f"{self.work}, {self.size:,} at {self.latency:g} ms: {self.figure}{other}"


def _ratio(work: str, size: int, latency: float, figure: str, most: float, against: str) -> Bound:
    return Bound(work, size, latency, figure, most, against, How.RATIO)


_CHANGED = 10_000 // 100
BOUNDS = (
    _ratio("help", 100, 0, "cpu", 1.3, "imports"),
    _ratio("validate", 100, 0, "cpu", 2.0, "imports"),
    *(_ratio("plan", 10_000, at, "cpu", 1.8, "lists") for at in (0, SLOW)),
    *(_ratio("plan", 10_000, at, "wall", 2.0, "lists") for at in (0, SLOW)),
    Bound("plan", 10_000, 0, "memory", 200),
    Bound("plan-v2", 10_000, SLOW, "wall", 1.0, "cursors:pages", How.RATIO, plus=0),
    _ratio("plan-by-id", 10_000, SLOW, "wall", 1 / 0.9, "threaded"),
    *(_ratio("first-apply", size, SLOW, "wall", 1.3, "threaded") for size in (1_000, 10_000)),
    # Pages, the object that shows what a list tells, then a read and a write of each that changed.
    Bound("apply-changed", 10_000, SLOW, "requests", 10_000 / 100 + 1 + 2 * _CHANGED),
    Bound("apply-changed-v2", 10_000, SLOW, "requests", 10_000 / 200 + 1 + 2 * _CHANGED),
    _ratio("plan-mixed", 10_000, 0, "cpu", 1.5, "lists"),
    _ratio("plan-mixed", 10_000, 0, "wall", 1.5, "lists"),
    *(
        _ratio("first-apply-mixed", size, SLOW, "wall", 1.25, "threaded")
        for size in (1_000, 10_000)
    ),
    Bound("import", 18_000, 0, "wall", 11, than=1_800),
    Bound("plan", 100_000, 0, "memory", 1_600),
    Bound("plan", 100_000, 0, "wall", 11, than=10_000),
    Bound("limited", 2_000, 0, "wall", 2_000 / LIMIT / 0.9),
    _ratio("upload", 1_024, 0, "wall", 1.3, "upload"),
    Bound("upload", 1_024, 0, "memory", 64 * 1.048576, "plan", How.EXTRA),
)


def contenders(work: Work, size: int, latency: float) -> list[str]:
    """Who does a work; the serial script only where it does not take minutes."""
    peers = [peer for peer in work.peers if peer != "serial" or size <= _SERIAL_MOST]
    if size > MOST_BESIDE:
        peers = []
    return [OURS, *peers, *(["imports"] if work.imports else [])]


def measured(work: Work, size: int, latency: float, repeats: int) -> dict[str, list[Run]]:
    """Runs of each contender, in turn: the n-th of one stands beside the n-th of another."""
    if work.name == "upload":
        return uploads.measured(work.typed, size, repeats)
    names = contenders(work, size, latency)
    found: dict[str, list[Run]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), SHAPES[work.shape], size)
        if work.needs_backend:
            world.empty() if work.is_first else world.fill()
            if work.is_unrecorded:
                world.forget()
            world.keep()
            world.change(work.changed)
        serving = world.serving(latency) if work.needs_backend else nullcontext()
        with nullcontext() if work.writes else serving:
            for _ in range(repeats):
                for name in names:
                    with fresh(world, work, latency) if work.writes else nullcontext():
                        found[name].append(_one(world, work, name))
    return found


@contextmanager
def fresh(world: World, work: Work, latency: float) -> Iterator[None]:
    """The backend for one run that writes: data and state as they were kept."""
    world.restore()
    faults = world.root / "faults.json"
    rules = [{"do": {"bucket": work.limit, "retry_after": 1}}] if work.limit else []
    faults.write_text(json.dumps({"rules": rules}))
    with world.serving(latency, faults=faults):
        yield


def _one(world: World, work: Work, name: str) -> Run:
    if name == OURS:
        return world.ours(*work.typed)
    if name == "imports":
        code = [sys.executable, "-c", f"import {work.imports}"]
        return run(code, world.project, world.environ)
    return world.peer(name, "apply" if work.writes else "check")


def ratio(
    ours: Iterable[Mapping[str, float]], theirs: Iterable[Mapping[str, float]], figure: str
) -> list[float]:
    """Ours to theirs, pair by pair."""
    return [a[figure] / b[figure] for a, b in zip(ours, theirs, strict=True)]
