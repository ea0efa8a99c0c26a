"""How the owner of a lock is identified, and when its process has certainly ended."""

from __future__ import annotations

import getpass
import os
import socket
from pathlib import Path

from synapse_apply.model.frozen import frozen
from synapse_apply.stores import schema
from synapse_apply.stores.database import Row, Statement


@frozen
class LockProcess:
    """Identifies a process among all hosts, also after a reboot or when its pid is used again.

    `boot_id` is "" where the system has none; `start_ticks` is in clock ticks since boot
    (proc_pid_stat(5), field 22).
    """

    host: str
    boot_id: str
    pid: int
    start_ticks: str
    user_at_host: str


@frozen
class LockOwner:
    """The owner of a lock as its row has it.

    Each time the lock is taken, `lock_id` is a new UUID and `token` greater than all before;
    `counter` grows with each renewal. `since` is RFC 3339 in UTC.
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
        """The owner in a row with the columns of schema.TABLE_COLUMNS["lock"]."""
        _, lock_id, token, counter, host, boot_id, pid, start_ticks, operation, who, *rest = row
        process = LockProcess(host, boot_id, pid, start_ticks, who)
        return cls(lock_id, token, counter, process, operation, *rest)

    def to_row(self) -> Row:
        """The row with the columns of schema.TABLE_COLUMNS["lock"]; its `id` is always 1."""
        process = self.process
        return (
            *(1, self.lock_id, self.token, self.counter),
            *(process.host, process.boot_id, process.pid, process.start_ticks),
            *(self.operation, process.user_at_host, self.run_url, self.since),
        )

    def statements(self, fence: int = 0) -> list[Statement]:
        """What makes this the owner; `fence` is the greatest token that the state has seen."""
        return [
            (schema.SET_FENCE, (max(fence, self.token),)),
            (schema.DROP_LOCK, ()),
            (schema.ADD_LOCK, self.to_row()),
        ]

    def __str__(self) -> str:
        """User, process, command, time and CI run as the subject of a sentence, with its comma."""
        process = self.process
        host_text = (
            "" if process.user_at_host.endswith(f"@{process.host}") else f" on {process.host}"
        )
        run_text = f" in {self.run_url}" if self.run_url else ""
        activity = f"running {self.operation} since {self.since}{run_text}"
        return f"{process.user_at_host} (process {process.pid}{host_text}), {activity},"


def identify_this_process() -> LockProcess:
    """The process that calls this."""
    host = socket.gethostname()
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # in a container a user may have no entry in passwd
        user = str(os.getuid())
    return LockProcess(
        host, _boot_and_namespace(), os.getpid(), _start_ticks("self"), f"{user}@{host}"
    )


def has_certainly_ended(process: LockProcess, own_process: LockProcess) -> bool:
    """Whether a process has certainly ended; False if that is unknown, as for another host.

    `own_process` is the caller's.
    """
    if not own_process.boot_id or (process.host, process.boot_id) != (
        own_process.host,
        own_process.boot_id,
    ):
        return False
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # another user's process, or a pid that none can have
        pass
    # A process that has the pid now but began at another time is another one.
    start_ticks = _start_ticks(str(process.pid))
    return bool(start_ticks) and start_ticks != process.start_ticks


def _boot_and_namespace() -> str:
    """The id of this boot and of the pid namespace, "" if the system tells neither.

    Containers of one host share the boot id, but a pid means another process in each.
    """
    boot_text = _read_text_or_empty("/proc/sys/kernel/random/boot_id")
    try:
        pid_namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
    return f"{boot_text} {pid_namespace}" if boot_text else ""


def _start_ticks(pid: str) -> str:
    """When a process started, in clock ticks since boot; "ended" for a zombie, "" if unknown."""
    # The second field is the program's name in parentheses, which may contain blanks and `)`.
    stat_fields = _read_text_or_empty(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if len(stat_fields) <= 19:
        return ""
    return "ended" if stat_fields[0] in ("Z", "X") else stat_fields[19]


def _read_text_or_empty(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
