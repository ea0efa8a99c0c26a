"""`python -m fault.altered JSON ARGUMENTS...`: the command itself, in other surroundings.

Nothing of the command is replaced but what a machine tells it (its name, its clocks, how long a
lease lasts) and the moment at which a signal reaches it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import get_ident
from typing import Any

from fault.disks import obey_modes
from fault.site import Ahead

from synapse_apply.cli import observer as cli_applying
from synapse_apply.cli.main import main
from synapse_apply.stores.database import LeaseTiming, read_seconds_since_boot
from synapse_apply.stores.lock.lease_lock import LockRunner
from synapse_apply.stores.lock.lock_owner import LockProcess
from synapse_apply.stores.postgres import postgres_database
from synapse_apply.stores.sqlite import sqlite_database
from synapse_apply.workspace import environment, state_access, target_session

WRITES = frozenset(
    {
        "open_intent_and_use_up_its_approvals",
        "close_ended_intent",
        "write_records",
        "remove_records",
        "rename_addresses",
        "mark_plan_applied",
    }
)


@dataclass(frozen=True)
class Altered:
    """What is not as it is here.

    `signal` is sent by the process to itself `before` or `after` its `nth` write of the state, or
    its nth call of what is named by `write`. `lease` in seconds; the clock by which it watches the
    leases of others, and waits for them, is `hurry` times as fast; that of its own shows an hour
    more once there is a file `hour_passes`. `host` is another machine's name.
    The wall clock runs `ahead` seconds ahead; with `later` so much time has really passed. For
    `patience` seconds a database that is away or busy is tried again. As `nobody` even root may do
    only what the modes of files say. Calls of a run that is told to stop end within `drain` seconds; so
    much longer it waits for the state.
    """

    signal: int = 0
    write: str = ""
    nth: int = 0
    moment: str = "before"
    lease: float = 0.0
    hurry: float = 1.0
    hour_passes: str = ""
    host: str = ""
    ahead: float = 0.0
    later: float = 0.0
    patience: float = 0.0
    nobody: bool = False
    drain: float = 0.0
    counted: bool = False

    def alter(self) -> None:
        """Before the command begins."""
        runner: dict[str, Any] = {}
        if self.lease:
            runner["timing"] = LeaseTiming(
                self.lease,
                min(self.lease / 12, 0.5),
                longest_pause=0.05,
                monotonic=lambda: time.monotonic() * self.hurry,
                boottime=lambda: (
                    read_seconds_since_boot() + 3600 * Path(self.hour_passes).is_file()
                ),
            )
        if self.host:
            runner["process"] = LockProcess(self.host, "another boot", 1, "5", f"they@{self.host}")
        vars(state_access)["LockRunner"] = partial(LockRunner, **runner)
        if by := self.ahead + self.later:
            vars(target_session)["SystemClock"] = lambda: Ahead(by)
            vars(environment)["read_seconds_since_boot"] = lambda: (
                read_seconds_since_boot() + self.later
            )
        if self.patience:
            made = partial(postgres_database.PostgresDatabase, patience=self.patience)
            vars(postgres_database)["PostgresDatabase"] = made
            vars(sqlite_database)["BUSY_TIMEOUT_SECONDS"] = self.patience
        if self.drain:
            vars(cli_applying).update(DRAIN_SECONDS=self.drain, STORE_SECONDS=self.drain)
        if self.nobody:
            obey_modes()
        if self.signal or self.counted:
            vars(state_access)["open_store"] = partial(_opened, state_access.open_store, self)


class Signalled:
    """A state store whose process gets a signal at a certain write."""

    def __init__(self, store: Any, altered: Altered) -> None:
        self._store = store
        self._altered = altered
        self.writes = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        chosen = self._altered.write
        if name != chosen and (chosen or name not in WRITES):
            return method

        def write(*given: Any, **named: Any) -> Any:
            self.writes += 1
            if self._altered.counted:
                sys.stderr.write(f"{name}\n")
            self._send_signal("before")
            answer = method(*given, **named)
            self._send_signal("after")
            return answer

        return write

    def _send_signal(self, moment: str) -> None:
        if (self.writes, moment) == (self._altered.nth, self._altered.moment):
            # Not in the middle of a sign of life: that one would keep the file to itself.
            database = self._store._database
            turn = database._turn if hasattr(database, "_turn") else database._connection_lock
            with turn:
                if self._altered.signal in (signal.SIGSTOP, signal.SIGKILL):
                    # This thread takes it: another one might, and this one write meanwhile.
                    signal.pthread_kill(get_ident(), self._altered.signal)
                else:
                    os.kill(os.getpid(), self._altered.signal)


def _opened(open_store: Any, altered: Altered, *given: Any) -> Signalled:
    return Signalled(open_store(*given), altered)


if __name__ == "__main__":
    Altered(**json.loads(sys.argv[1])).alter()
    del sys.argv[1]
    main()
