"""A lock that the operating system releases when its process ends, however it ends.

The lock is flock(2) on a file that stays; what the file says is only for people. It is never
removed: a second process could then lock a file that the third no longer sees.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from synapse_apply.stores import faults

MODE = 0o600


@contextmanager
def locked(
    path: str, where: str, operation: str, run_url: str, now: Callable[[], str]
) -> Iterator[None]:
    """Hold the lock file at `path`, whose folder exists; LockHeld when another holds it."""
    descriptor = _acquire(path, where)
    try:
        _write(descriptor, _holder(operation, run_url, now()))
        yield
    finally:
        _write(descriptor, {})
        os.close(descriptor)


def _acquire(path: str, where: str) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Somebody may have removed the file; a lock on what has no name keeps nobody out.
            if os.path.samestat(os.fstat(descriptor), Path(path).stat()):
                return descriptor
            holder: dict[str, Any] = {}
        except BlockingIOError:
            holder = _read(descriptor)
        except OSError:
            os.close(descriptor)
            raise
    except OSError as problem:
        raise faults.unusable(where, "Locking", f"{path}: {problem.strerror}") from None
    os.close(descriptor)
    raise faults.held(where, _describe(holder))


def _write(descriptor: int, holder: dict[str, Any]) -> None:
    # It is for people only: a full disk must not keep a lock from being taken or given back.
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _read(descriptor: int) -> dict[str, Any]:
    """What the holder wrote; empty while it is about to write."""
    try:
        found = json.loads(os.pread(descriptor, 65536, 0))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _holder(operation: str, run_url: str, since: str) -> dict[str, Any]:
    return {
        "owner": str(uuid4()),
        "who": f"{_user()}@{socket.gethostname()}",
        "pid": os.getpid(),
        "boot": _file_text("/proc/sys/kernel/random/boot_id"),
        "started": _start_ticks(),
        "operation": operation,
        "since": since,
        "run": run_url,
    }


def _describe(holder: dict[str, Any]) -> str:
    """Who, since when, doing what, in which run: the subject of a sentence."""
    if not holder:
        return "Another process"
    who = f"{holder.get('who', 'somebody')} (process {holder.get('pid', 'unknown')})"
    doing = f"running {holder.get('operation', 'a command')} since {holder.get('since', 'then')}"
    run = f" in {holder['run']}" if holder.get("run") else ""
    return f"{who}, {doing}{run},"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return str(os.getuid())


def _start_ticks() -> str:
    """This process's start in clock ticks since boot (proc_pid_stat(5), field 22)."""
    after_name = _file_text("/proc/self/stat").rpartition(")")[2].split()
    return after_name[19] if len(after_name) > 19 else ""


def _file_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
