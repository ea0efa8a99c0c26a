"""Whether a data set is served, by which server, and how it is reset; loads no server code.

`endpoint.json` is verified before it is used, since a token is sent to its url: the server is on
loopback, its process is ours and has the lock file open, and it serves the data set beside the
file.
"""

from __future__ import annotations

import ipaddress
import json
import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from synapse_apply.emulator.core import data_folder
from synapse_apply.emulator.core.backend import DataLock, DataSetBusyError
from synapse_apply.emulator.core.store import DataSetError

_LOCAL_HOST_BY_WILDCARD = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - told, not listened on


class EndpointError(DataSetError):
    """A data set is in use, but its `endpoint.json` cannot be true."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that serves a data set now; `token` is one that it accepts."""

    url: str
    pid: int
    data_set: str
    token: str = field(repr=False)


def reset_data_set_if_any(data: Path | str) -> bool:
    """Delete all objects, so that the next start creates a new data set; False if there was none.

    Raises DataSetBusyError while a server uses it, DataSetPlaceError for files that are not ours.
    """
    data = Path(data)
    if not data.exists():
        return False
    data_folder.require_trusted_files(data)
    if not (data / data_folder.DATABASE).exists():
        return False
    lock = DataLock(data)
    try:
        data_folder.remove_data_set_files(data)
    finally:
        lock.release()
    return True


def find_running_server(data: Path | str) -> RunningServer | None:
    """The server that serves a data set now; None without one (a stale file is ignored).

    Raises EndpointError if it is in use but `endpoint.json` fails verification, DataSetPlaceError
    for files that are not ours.
    """
    data = Path(data)
    try:
        data_folder.require_trusted_files(data)
        text = data_folder.read_endpoint(data)
        # Whoever can take the lock is alone: then no server runs.
        DataLock(data).release()
    except DataSetBusyError:
        return _verify_endpoint(data, text)
    except OSError:
        return None
    return None


def has_never_had_objects(data: Path | str) -> bool:
    """Whether no object was ever declared there; False if that cannot be read."""
    statement = "SELECT COUNT(*) FROM sqlite_sequence WHERE name NOT IN ('job', 'agent')"
    count = _query_value_or_none(Path(data), statement)
    return count == 0  # None, for an unreadable data set, must not count as empty


def write_endpoint(data: Path, url: str, data_set: str, token: str) -> None:
    """Write `endpoint.json`, by which other processes of this user find the server."""
    # Listening on a wildcard address (0.0.0.0 or ::) does not make it one to connect to.
    parts = urlsplit(url)
    if local_host := _LOCAL_HOST_BY_WILDCARD.get(parts.hostname or ""):
        url = urlunsplit(parts._replace(netloc=f"{local_host}:{parts.port}"))
    document = {"url": url, "pid": os.getpid(), "data_set": data_set, "token": token}
    data_folder.write_endpoint_atomically(data, json.dumps(document) + "\n")


def _verify_endpoint(data: Path, text: bytes) -> RunningServer:
    """The server in the text of `endpoint.json`. Raises EndpointError unless all of it holds."""
    try:
        document: Any = json.loads(text)
        server = RunningServer(
            document["url"], document["pid"], document["data_set"], document["token"]
        )
        wrong = _find_wrong(data, server)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        wrong = _INCOMPLETE
    if wrong:
        raise EndpointError(
            f"{data / data_folder.ENDPOINT} {wrong}",
            "stop the server that uses the data set, and remove that file",
        )
    return server


_INCOMPLETE = "lacks a valid url, pid, data_set or token of a server"


def _find_wrong(data: Path, server: RunningServer) -> str:
    """What does not hold of a server that `endpoint.json` names; "" if all does."""
    parts = urlsplit(server.url)
    texts = (server.url, server.data_set, server.token)
    # `type`, not isinstance: a boolean is an int, and a subclass never comes from JSON.
    has_types = type(server.pid) is int and all(type(item) is str and item for item in texts)
    if parts.scheme != "http" or not parts.port or not has_types:
        return _INCOMPLETE
    if not _is_loopback_ip_address(parts.hostname or "") or server.url != f"http://{parts.netloc}":
        return f"names {server.url!a}, which is not a plain loopback address"
    if "@" in parts.netloc:
        return "names a url that contains a user"
    if not _is_own_process(server.pid):
        return f"names process {server.pid}, which is not yours"
    # A process id may be used again by a program that has nothing to do with the data set.
    if not _may_have_file_open(server.pid, data / data_folder.LOCK):
        return f"names process {server.pid}, which does not use the data set"
    if read_data_set_id(data) != server.data_set:
        return "names another data set than the one next to it"
    return ""


def _is_loopback_ip_address(host: str) -> bool:
    """Whether a host is a loopback IP address; False for a name, which may resolve to any."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_own_process(pid: int) -> bool:
    """Whether a process with this id runs and belongs to this user or root."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (OSError, OverflowError):
        return False
    try:
        return Path(f"/proc/{pid}").stat().st_uid in (os.geteuid(), 0)
    except OSError:
        return True  # a system without /proc: only root could signal another's process


def _may_have_file_open(pid: int, file: Path) -> bool:
    """Whether a process of ours has a file open; True if the system does not tell.

    /proc/locks would name the owner of the lock, but with another device number on overlay file
    systems, and not across pid namespaces.
    """
    try:
        file_status = file.lstat()
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return True
    for descriptor in descriptors:
        with suppress(OSError):  # closed meanwhile
            if os.path.samestat(descriptor.stat(), file_status):
                return True
    return False


def _query_value_or_none(data: Path, statement: str) -> object:
    """The single value of a query on a data set, opened read-only; None if it cannot be read."""
    location = f"{(data / data_folder.DATABASE).absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(location, uri=True)) as connection:
            row = connection.execute(statement).fetchone()
    except sqlite3.Error:
        return None
    return row[0] if row else None


def read_data_set_id(data: Path | str) -> str:
    """The UUID of the data set in a folder; "" if it cannot be read."""
    statement = "SELECT value FROM about WHERE name = 'data_set'"
    return str(_query_value_or_none(Path(data), statement) or "")
