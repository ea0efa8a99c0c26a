"""What one backend is made of: its clock, switches, faults and store."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from itertools import chain
from pathlib import Path
from typing import Any

from synapse_apply.emulator.core import data_folder
from synapse_apply.emulator.core.data_folder import DataSetPlaceError
from synapse_apply.emulator.core.store import EVERY_TENANT, DataSetError, ObjectStore
from synapse_apply.emulator.core.switches import DEFAULT_PROFILE, Switches, UnknownSwitchError
from synapse_apply.emulator.faults.rules import FaultSchedule, parse_valid_rules_or_raise_all

# The platform writes the times of jobs with this offset.
_SEOUL = timezone(timedelta(hours=9))


@dataclass(slots=True)
class DataSetClock:
    """The machine's clock plus `ahead` seconds."""

    ahead: float = 0.0

    def now(self) -> float:
        """Seconds since the epoch, rounded to microseconds."""
        # As exact as answers write it, so that a filter by an answered time finds the object.
        return round(time.time() + self.ahead, 6)


def format_iso(moment: float) -> str:
    """`2026-01-02T03:04:05.000006Z`, as Django REST framework writes it."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def format_iso_in_seoul(moment: float) -> str:
    """`2026-01-02T12:04:05.000006+09:00`."""
    return datetime.fromtimestamp(moment, _SEOUL).isoformat(timespec="microseconds")


def parse_iso_time_or_none(text: str) -> float | None:
    """Seconds since the epoch; a time without a zone is in UTC; None for another text."""
    try:
        # An unescaped "+" of a query string arrives as a space.
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        # In these zones it is written again, which the first and the last year may not fit.
        moment.astimezone(_SEOUL)
        return moment.astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        return None


PROFILE_SETTING = "profile"  # its key in the table `about` of the data set
MAX_LOGGED_REQUESTS = 1000
MAX_UPLOAD = 4 * 1024**3  # bytes
# The agent tokens in the examples of the API page, which everybody knows.
EXAMPLE_AGENTS = {"agent-token-123": "agent-1", "my-agent-token": "agent-2"}


class DataSetBusyError(DataSetError):
    """Another server holds the lock of the data set."""


class ServeError(Exception):
    """The server cannot start; the message tells why and what to do."""


@dataclass(slots=True)
class ServerSettings:
    """The settings of a server. Raises ServeError for `any_token` together with a token.

    `tokens` maps access tokens to tenants; `token` is one of `tenant`, or else any that the server
    accepts. Without any, a random one is made, and the tenant header, else `tenant`, decides the
    tenant. With `any_token` every token is accepted: all who can reach the port can use the server.
    `latency` is in milliseconds, `job_seconds` the duration of a job, `max_upload` in bytes,
    `faults` a document of fault rules. `profile` is stored in the data set; "" uses the stored one.
    """

    tenant: str = "default"
    token: str = ""
    tokens: Mapping[str, str] = field(default_factory=dict)
    any_token: bool = False
    switches: Mapping[str, str] = field(default_factory=dict)
    profile: str = ""
    latency: float = 0.0
    job_seconds: float = 0.2
    max_upload: int = MAX_UPLOAD
    faults: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.any_token and (self.token or self.tokens):
            raise ServeError("--token and --any-token cannot be combined")
        self.tokens = {**({self.token: self.tenant} if self.token else {}), **self.tokens}
        of_tenant = (token for token, tenant in self.tokens.items() if tenant == self.tenant)
        self.token = next(chain(of_tenant, self.tokens), "") or secrets.token_urlsafe(32)

    def __repr__(self) -> str:
        # Without the tokens, since settings appear in tracebacks.
        return f"Settings(tenant={self.tenant!r}, tokens={len(self.tokens)})"


@dataclass(slots=True)
class RequestLog:
    """The last requests, and counts by method and route; without bodies and tokens."""

    recent_entries: deque[dict[str, Any]] = field(
        default_factory=lambda: deque(maxlen=MAX_LOGGED_REQUESTS)
    )
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, entry: dict[str, Any], route: str) -> None:
        self.recent_entries.append(entry)
        self.counts[f"{entry['method']} {route}"] += 1

    def clear(self) -> None:
        self.recent_entries.clear()
        self.counts.clear()


V2_ID_OFFSET = 500_000  # between an object's ids on v1 and v2, with the switch `v2_ids=own`


class DataLock:
    """The lock of a data set, for one process (flock(2)): released when it ends in any way."""

    def __init__(self, data: Path) -> None:
        """Take the lock. Raises DataSetBusyError."""
        self._descriptor = data_folder.open_own_file_descriptor(
            data, data_folder.LOCK, os.O_RDWR | os.O_CREAT
        )
        # Several attempts: a process that checks for a running server holds the lock briefly.
        for wait in (0.01, 0.04, 0.1, None):
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if wait is not None:
                    time.sleep(wait)
                    continue
                os.close(self._descriptor)
                raise DataSetBusyError(
                    f"another server of the embedded backend uses the data set {data}",
                    "stop that server, or give another folder with --data",
                ) from None
            return

    def release(self) -> None:
        os.close(self._descriptor)


class DataSetBackend:
    """An open data set with all that is needed to answer requests."""

    def __init__(
        self, data: Path, settings: ServerSettings, clock: DataSetClock | None = None
    ) -> None:
        """Open or create the data set. Raises DataSetError, UnknownSwitchError, FaultsError."""
        # Checked first, so that a wrong switch or rule leaves no data set behind.
        self.switches = Switches(settings.switches, settings.profile)
        self.fault_schedule = FaultSchedule(
            parse_valid_rules_or_raise_all(settings.faults) if settings.faults is not None else []
        )
        self.settings = settings
        self.data = data
        try:
            data_folder.make_data_folder(data)
            data_folder.require_trusted_files(data)
            self._lock = DataLock(data)
        except OSError as error:
            raise DataSetPlaceError(
                f"cannot store a data set in {data}: {error.strerror or error}",
                "give another folder with --data",
            ) from None
        try:
            # Left by a server that was killed: its url and token are not this server's.
            data_folder.remove_endpoint(data)
            data_folder.make_subfolders(data)
            self.packages_folder = data / data_folder.PACKAGES
            self.incoming_folder = data / data_folder.INCOMING
            self.store = ObjectStore(data / data_folder.DATABASE)
            # Apply the settings' profile and store it; without one, apply the stored profile.
            stored_profile = self.store.find_setting(PROFILE_SETTING) or DEFAULT_PROFILE
            self.profile = settings.profile or stored_profile
            try:
                self.switches = Switches(settings.switches, self.profile)
            except UnknownSwitchError:
                self.store.close()
                raise DataSetError(
                    f"the data set {data} has profile {self.profile}, which this version lacks",
                    "update synapse-apply, or choose another profile with `emulator --profile`",
                ) from None
            if self.profile != stored_profile:
                self.store.write_setting(PROFILE_SETTING, self.profile)
        except BaseException:
            self._lock.release()
            raise
        self.clock = clock or DataSetClock()
        self.request_log = RequestLog()
        self.jobs_to_fail = 0
        # So that the examples of the API page work on a new data set.
        for token, name in EXAMPLE_AGENTS.items():
            if self.store.find_by_key_of_any_tenant("agent", token) is None:
                body = {"name": name, "url": ""}
                self.store.insert("agent", EVERY_TENANT, body, created=self.clock.now(), key=token)

    def apply_and_store_profile(self, profile: str, switches: Mapping[str, str]) -> None:
        """Apply and store a profile, with these switches on top. Raises UnknownSwitchError."""
        self.switches = Switches(switches, profile)
        self.profile = profile
        self.store.write_setting(PROFILE_SETTING, profile)

    def to_v2_id(self, number: int) -> int:
        """The id on API v2 of a plugin or release with this id in the store."""
        return number + self._v2_id_offset

    def from_v2_id(self, number: int) -> int:
        """The id in the store of a plugin or release with this id on v2; 0 if none can have it."""
        return max(number - self._v2_id_offset, 0)

    @property
    def _v2_id_offset(self) -> int:
        return V2_ID_OFFSET if self.switches.has_value("v2_ids", "own") else 0

    def close(self) -> None:
        self.store.close()
        self._lock.release()
