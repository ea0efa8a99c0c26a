"""Runs one fuzzer in a process of its own: what it may use, what counts as a failure, what is kept.

Each input is made from the seed and its number alone, so a failure is made again by both. The
input under way lies in a file, so that it is there when its process was ended from outside.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Protocol

from fuzz.tool import InternalError, clear_environment

SECONDS, WALL_SECONDS, MEGABYTES = 5.0, 60.0, 500
# Above this the process is ended whatever it does: a machine that swaps helps nobody.
_LAST_RESORT = 3 * 1024**3
# The command is made for processes that end: connections and threads may be left to the system.
_INPUTS_OF_A_PROCESS = 300


class Fuzzer(Protocol):
    """One kind of input, and what the command does with it."""

    name: str
    environment: Mapping[str, str]

    def prepare(self, folder: Path) -> None:
        """Make the world that inputs come into; once a process."""

    def make(self, random: Random) -> bytes:
        """An input."""

    def run(self, data: bytes, random: Random) -> None:
        """Do what a user would do with it; InternalError."""


@dataclass
class Failure:
    """One input that the tool did not bear; `file` holds it."""

    fuzzer: str
    seed: int
    number: int
    what: str
    file: Path


@dataclass
class Ended:
    """How many inputs a fuzzer ran, in how many seconds, and the ones that failed."""

    fuzzer: str
    inputs: int = 0
    seconds: float = 0.0
    megabytes: int = 0
    longest: float = 0.0
    failures: list[Failure] = field(default_factory=list)

    @property
    def line(self) -> str:
        """What is said of it in one line."""
        return (
            f"{self.fuzzer:<10} {self.inputs:>8} inputs in {self.seconds:5.0f} s, "
            f"longest {self.longest:4.1f} s, at most {self.megabytes} MB, "
            f"{len(self.failures)} failed"
        )


def fuzzed(
    make: Callable[[], Fuzzer],
    seed: int,
    seconds: float,
    folder: Path,
    *,
    first: int = 0,
    most: int = 10**9,
    most_failures: int = 20,
    again: bytes | None = None,
) -> Ended:
    """Run a fuzzer until its time is over, in as many processes as inputs that end one ask for.

    `again` is an input to run in place of those that it makes.
    """
    ended = Ended(make().name)
    folder.mkdir(parents=True, exist_ok=True)
    begun, number = time.monotonic(), first
    while number < first + most and len(ended.failures) < most_failures:
        left = seconds - (time.monotonic() - begun)
        if left <= 0:
            break
        number = _one_process(make, seed, number, first + most, left, folder, ended, again)
    ended.seconds = time.monotonic() - begun
    return ended


def _one_process(
    make: Callable[[], Fuzzer], seed: int, first: int, last: int, seconds: float, folder: Path,
    ended: Ended, again: bytes | None,
) -> int:  # fmt: skip
    """Run inputs in a child until one ends it; gives the number of the next input."""
    work = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        child = os.fork()
        if child == 0:
            _be_child(make, seed, first, last, seconds, folder, work, again)
        _, status = os.waitpid(child, 0)
        return _read_notes(work, seed, first, status, folder, ended)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _read_notes(work: Path, seed: int, first: int, status: int, folder: Path, ended: Ended) -> int:
    notes = work / "notes"
    lines = notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []
    number = first
    for note in map(json.loads, lines):
        number = note["number"] + 1
        ended.inputs += 1
        ended.longest = max(ended.longest, note["seconds"])
        ended.megabytes = max(ended.megabytes, note["megabytes"])
        if note["failed"]:
            ended.failures.append(
                Failure(ended.fuzzer, seed, note["number"], note["failed"], Path(note["file"]))
            )
    if status == 0:
        return number
    under_way = work / "input"
    if not under_way.exists():
        raise RuntimeError(f"{ended.fuzzer}: the process ended before its first input: {status}")
    kept = folder / f"{ended.fuzzer}-{seed}-{number}"
    shutil.copyfile(under_way, kept)
    traces = (work / "traces").read_text(encoding="utf-8", errors="replace")
    what = f"the process was ended (status {status}: over {SECONDS:g} s or too large)\n{traces}"
    ended.inputs += 1
    ended.failures.append(Failure(ended.fuzzer, seed, number, what, kept))
    return number + 1


def _be_child(
    make: Callable[[], Fuzzer], seed: int, first: int, last: int, seconds: float, folder: Path,
    work: Path, again: bytes | None,
) -> None:  # fmt: skip
    """Never returns. Ends with 0 when its time is over or it grew too large to tell inputs apart."""
    code = 1
    try:
        with (work / "traces").open("wb") as traces, (work / "notes").open("w") as notes:
            fuzzer = make()
            clear_environment(fuzzer.environment)
            fuzzer.prepare(work / "world")
            resource.setrlimit(resource.RLIMIT_AS, (_LAST_RESORT, _LAST_RESORT))
            faulthandler.enable(traces)
            faulthandler.register(signal.SIGPROF, traces, all_threads=True, chain=True)
            until = time.monotonic() + seconds
            for number in range(first, min(last, first + _INPUTS_OF_A_PROCESS)):
                if time.monotonic() > until:
                    break
                note = _one_input(fuzzer, seed, number, folder, work, traces, again)
                notes.write(json.dumps(note) + "\n")
                notes.flush()
                if note["failed"] and note["megabytes"] > MEGABYTES:
                    break  # the peak stays, and would be every later input's
        code = 0
    except BaseException:  # noqa: BLE001 - nothing of the parent may run in the child
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _one_input(
    fuzzer: Fuzzer,
    seed: int,
    number: int,
    folder: Path,
    work: Path,
    traces: object,
    again: bytes | None = None,
) -> dict[str, object]:
    data = fuzzer.make(Random(f"{fuzzer.name}:{seed}:{number}")) if again is None else again
    (work / "input").write_bytes(data)
    # Of the input alone, so that the file of one that failed is all it takes to see it again.
    random = Random(data)
    begun, failed = time.process_time(), ""
    with _alarm(traces):
        try:
            fuzzer.run(data, random)
        except InternalError as problem:
            failed = str(problem)
    took = time.process_time() - begun
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    if megabytes > MEGABYTES:
        failed = failed or f"{megabytes} MB were used"
    kept = folder / f"{fuzzer.name}-{seed}-{number}"
    if failed:
        kept.write_bytes(data)
    return {
        "number": number, "seconds": took, "megabytes": megabytes, "failed": failed,
        "file": str(kept),
    }  # fmt: skip


@contextlib.contextmanager
def _alarm(traces: object) -> Iterator[None]:
    """Ends the process, with a trace, when an input computes or waits for too long."""
    faulthandler.dump_traceback_later(WALL_SECONDS, exit=True, file=traces)  # type: ignore[arg-type]
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
