"""Who holds a lock, and whether that process still runs."""

from __future__ import annotations

import getpass
import os
import socket
from pathlib import Path

from synapse_apply.model.frozen import frozen
from synapse_apply.stores.database import Row


@frozen
class Process:
    """A process that can be told from every other one, also after a reboot.

    `boot_id` is empty where the system does not tell one; `started` is in clock ticks since boot
    (proc_pid_stat(5), field 22).
    """

    host: str
    boot_id: str
    pid: int
    started: str
    who: str


@frozen
class Holder:
    """One holding of a lock, as its row tells it.

    `owner` (a UUID) is new for each holding, `token` greater than that of every holding before,
    and `counter` moves with each sign of life.
    """

    owner: str
    token: int
    counter: int
    process: Process
    operation: str
    run_url: str
    since: str

    @classmethod
    def from_row(cls, row: Row) -> Holder:
        """A row with the columns of schema.COLUMNS["lock"]."""
        _, owner, token, counter, host, boot_id, pid, started, operation, who, run_url, since = row
        process = Process(host, boot_id, pid, started, who)
        return cls(owner, token, counter, process, operation, run_url, since)

    def to_row(self) -> Row:
        at = self.process
        return (
            *(1, self.owner, self.token, self.counter, at.host, at.boot_id, at.pid, at.started),
            *(self.operation, at.who, self.run_url, self.since),
        )

    def __str__(self) -> str:
        """Who, where, doing what, since when, in which run: the subject of a sentence."""
        at = self.process
        host = "" if at.who.endswith(f"@{at.host}") else f" on {at.host}"
        run = f" in {self.run_url}" if self.run_url else ""
        doing = f"running {self.operation} since {self.since}{run}"
        return f"{at.who} (process {at.pid}{host}), {doing},"


def this_process() -> Process:
    """The process that asks."""
    host = socket.gethostname()
    return Process(host, _boot_id(), os.getpid(), _started("self"), f"{_user()}@{host}")


def is_gone(process: Process, here: Process) -> bool:
    """Whether it certainly has ended. False where that cannot be told, as of another host."""
    if not here.boot_id or (process.host, process.boot_id) != (here.host, here.boot_id):
        return False
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # it runs as somebody else, or the row is odd
        pass
    started = _started(str(process.pid))
    return bool(started) and started != process.started


def _boot_id() -> str:
    """This boot and, since containers of one host share it, the space its pids are from."""
    boot = _file_text("/proc/sys/kernel/random/boot_id")
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
    return f"{boot} {space}" if boot else ""


def _started(pid: str) -> str:
    """`ended` for a process that only waits to be collected, "" where it cannot be told."""
    after_name = _file_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if len(after_name) <= 19:
        return ""
    return "ended" if after_name[0] in ("Z", "X") else after_name[19]


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return str(os.getuid())


def _file_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
