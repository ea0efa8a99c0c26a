"""Who holds a lock, and whether that process still runs."""

from __future__ import annotations

import getpass
import os
import socket
from pathlib import Path

from synapse_apply.model.frozen import frozen
from synapse_apply.stores.database import Row


@frozen
class LockProcess:
    """A process that can be told from every other one, also after a reboot.

    `boot_id` is empty where the system does not tell one; `start_ticks` is in clock ticks since
    boot (proc_pid_stat(5), field 22).
    """

    host: str
    boot_id: str
    pid: int
    start_ticks: str
    user_at_host: str


@frozen
class LockOwner:
    """One holding of a lock, as its row tells it.

    `lock_id` (a UUID) is new for each holding, `token` greater than that of every holding before,
    and `counter` moves with each sign of life.
    """

    lock_id: str
    token: int
    counter: int
    process: LockProcess
    operation: str
    run_url: str
    since: str

    @classmethod
    def from_row(cls, row: Row) -> LockOwner:
        """A row with the columns of schema.COLUMNS["lock"]."""
        (
            _,
            lock_id,
            token,
            counter,
            host,
            boot_id,
            pid,
            start_ticks,
            operation,
            user_at_host,
            run_url,
            since,
        ) = row
        process = LockProcess(host, boot_id, pid, start_ticks, user_at_host)
        return cls(lock_id, token, counter, process, operation, run_url, since)

    def to_row(self) -> Row:
        process = self.process
        return (
            *(
                1,
                self.lock_id,
                self.token,
                self.counter,
                process.host,
                process.boot_id,
                process.pid,
                process.start_ticks,
            ),
            *(self.operation, process.user_at_host, self.run_url, self.since),
        )

    def __str__(self) -> str:
        """Who, where, doing what, since when, in which run: the subject of a sentence."""
        process = self.process
        host_text = (
            "" if process.user_at_host.endswith(f"@{process.host}") else f" on {process.host}"
        )
        run_text = f" in {self.run_url}" if self.run_url else ""
        activity = f"running {self.operation} since {self.since}{run_text}"
        return f"{process.user_at_host} (process {process.pid}{host_text}), {activity},"


def describe_this_process() -> LockProcess:
    """The process that asks."""
    host = socket.gethostname()
    return LockProcess(
        host,
        _read_boot_and_pid_namespace(),
        os.getpid(),
        _read_start_ticks_or_ended("self"),
        f"{_find_user_name_or_id()}@{host}",
    )


def has_certainly_ended(process: LockProcess, own_process: LockProcess) -> bool:
    """Whether it certainly has ended. False where that cannot be told, as of another host."""
    if not own_process.boot_id or (process.host, process.boot_id) != (
        own_process.host,
        own_process.boot_id,
    ):
        return False
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # it runs as somebody else, or the row is odd
        pass
    start_ticks = _read_start_ticks_or_ended(str(process.pid))
    return bool(start_ticks) and start_ticks != process.start_ticks


def _read_boot_and_pid_namespace() -> str:
    """This boot and, since containers of one host share it, the space its pids are from."""
    boot_text = _read_text_or_empty("/proc/sys/kernel/random/boot_id")
    try:
        pid_namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
    return f"{boot_text} {pid_namespace}" if boot_text else ""


def _read_start_ticks_or_ended(pid: str) -> str:
    """`ended` for a process that only waits to be collected, "" where it cannot be told."""
    stat_fields = _read_text_or_empty(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if len(stat_fields) <= 19:
        return ""
    return "ended" if stat_fields[0] in ("Z", "X") else stat_fields[19]


def _find_user_name_or_id() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return str(os.getuid())


def _read_text_or_empty(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
