"""What processes have used, by their part in the fleet, as proc_pid_stat(5) counts it."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

_TICKS, _PAGE_BYTES = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
_WORKER_MODULE = b"synapse_apply.controller.worker"
_SECONDS_BETWEEN = 0.5


class Usage(NamedTuple):
    """Of one process: its parent, its processor seconds, those of the children that it has waited
    for, and its resident memory in MB.
    """

    parent: int
    seconds: float
    seconds_of_ended_children: float
    memory: float

    @property
    def total_seconds(self) -> float:
        return self.seconds + self.seconds_of_ended_children


def read_usages(roots: Iterable[int]) -> dict[int, Usage]:
    """The usage of processes and of all below them, by process id; ended ones are left out."""
    found = {}
    for name in filter(str.isdigit, (entry.name for entry in Path("/proc").iterdir())):
        with suppress(OSError):
            text = Path("/proc", name, "stat").read_text(encoding="utf-8", errors="replace")
            fields = text.rpartition(")")[2].split()
            user, system, ended_user, ended_system = (int(cell) / _TICKS for cell in fields[11:15])
            memory = int(fields[21]) * _PAGE_BYTES / 1e6
            found[int(name)] = Usage(
                int(fields[1]), user + system, ended_user + ended_system, memory
            )
    chosen, added = set(roots), 1
    while added:
        before = len(chosen)
        chosen |= {number for number, usage in found.items() if usage.parent in chosen}
        added = len(chosen) - before
    return {number: found[number] for number in chosen & found.keys()}


def is_worker_process(process_id: int) -> bool:
    """Whether a process is a child of a controller that looks at targets."""
    with suppress(OSError):
        return _WORKER_MODULE in Path(f"/proc/{process_id}/cmdline").read_bytes()
    return False


@dataclass
class PartUsage:
    """What one part of a fleet has used: processor seconds in all, most memory at a time, in MB."""

    seconds: float = 0.0
    peak_memory: float = 0.0
    process_count: int = 0

    def keep_peak(self, usages: Collection[Usage]) -> None:
        """Take what the processes of the part use now."""
        self.peak_memory = max(self.peak_memory, sum(usage.memory for usage in usages))
        self.process_count = max(self.process_count, len(usages))


class UsageWatch:
    """Reads twice a second what processes and all below them use; a context manager.

    `roots` are process ids by the name of their part. `looks` are the processes that look at targets,
    wherever they are, with the Git that they start. What else is below a root counts for its part.
    """

    def __init__(self, roots: Mapping[str, Collection[int]]) -> None:
        self._roots = roots
        self.parts = {part: PartUsage() for part in roots}
        self.looks = PartUsage()
        self._look_seconds: dict[str, dict[int, float]] = {part: {} for part in roots}
        self._is_worker: dict[int, bool] = {}
        self._base = {part: self._read_total(read_usages(ids)) for part, ids in roots.items()}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._note_again_and_again, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._note()

    def _note_again_and_again(self) -> None:
        while not self._is_over.wait(_SECONDS_BETWEEN):
            self._note()

    def _note(self) -> None:
        looking: list[Usage] = []
        for part, ids in self._roots.items():
            usages = read_usages(ids)
            if not usages:
                continue
            workers = {number: usage for number, usage in usages.items() if self._looks(number)}
            looking.extend(workers.values())
            seconds = self._look_seconds[part]
            seconds |= {number: usage.total_seconds for number, usage in workers.items()}
            total = self._read_total(usages) - self._base[part]
            self.parts[part].seconds = total - sum(seconds.values())
            rest = [usage for number, usage in usages.items() if number not in workers]
            self.parts[part].keep_peak(rest)
        self.looks.seconds = sum(sum(found.values()) for found in self._look_seconds.values())
        self.looks.keep_peak(looking)

    def _read_total(self, usages: Mapping[int, Usage]) -> float:
        return sum(usage.total_seconds for usage in usages.values())

    def _looks(self, process_id: int) -> bool:
        if process_id not in self._is_worker:
            self._is_worker[process_id] = is_worker_process(process_id)
        return self._is_worker[process_id]
