"""`python -m controllers.altered JSON ARGUMENTS...`: the command itself, killed or with other clocks.

Nothing of the controller is replaced but the moment at which a signal reaches it, and what the
machine says of the time.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

from forking import put_clock_ahead


def replace_in_modules_of_controller(name: str, value: Any) -> None:
    """Give a name another value wherever it was imported: a fork has all modules already."""
    for module_name, module in tuple(sys.modules.items()):
        if module_name.startswith("synapse_apply.controller.") and name in vars(module):
            setattr(module, name, value)


@dataclass
class Altered:
    """What is not as it is here.

    The process kills itself at its `nth` point: a moment before or after a write of the store is
    committed, or a call outward is made (Git, a worker, a forge, a webhook). Each point that is
    passed is a line of the file `points`. The wall clock is as many seconds ahead as the text of
    the file `clock` says, read anew each time. With `store_format` it is a version that is to come: its
    store has that format and one more column, and `oldest_writer` is the oldest format that may
    still write.
    """

    nth: int = 0
    points: str = ""
    clock: str = ""
    store_format: int = 0
    oldest_writer: int = 0

    def alter(self) -> None:
        """Before the command begins."""
        self._count = 0
        self._lock = threading.Lock()
        if self.clock:
            file = Path(self.clock)
            put_clock_ahead(lambda: float(file.read_text() or 0))
        if self.store_format:
            self._become_newer()
        from synapse_apply.client.http.exchange import HttpExchanger
        from synapse_apply.controller.source.mirror import GitMirror
        from synapse_apply.controller.store.controller_store import SqliteControllerStore
        from synapse_apply.controller.worker.pool import WorkerPool

        if self.nth or self.points:
            for kind, name in (
                (HttpExchanger, "send_request"),
                (GitMirror, "fetch_head"),
                (WorkerPool, "look"),
                (WorkerPool, "apply"),
            ):
                setattr(kind, name, self._wrap_call(getattr(kind, name), name))
            SqliteControllerStore.write = self._wrap_write(SqliteControllerStore.write)  # type: ignore[method-assign]

    def _become_newer(self) -> None:
        """Before anything takes these names by value."""
        import synapse_apply

        synapse_apply.__version__ = "9.9"
        from synapse_apply.controller.store import store_schema

        replace_in_modules_of_controller("STORE_FORMAT", self.store_format)
        meta = {
            store_schema.META_FORMAT: f"{self.store_format}",
            store_schema.META_OLDEST_WRITER: f"{self.oldest_writer}",
        }
        replace_in_modules_of_controller("META_OF_THIS_FORMAT", meta)
        from synapse_apply.controller.store import store_schema

        upgrade = store_schema.upgrade_tables_if_older_without_commit

        @wraps(upgrade)
        def add_column_and_upgrade(connection: Any, *others: Any) -> str:
            statement = "SELECT value FROM meta WHERE key = ?"
            (text,) = connection.execute(statement, [store_schema.META_FORMAT]).fetchone()
            if int(text) < self.store_format:
                column = "added_by_newer TEXT NOT NULL DEFAULT 'x'"
                connection.execute(f"ALTER TABLE targets ADD COLUMN {column}")
            return str(upgrade(connection, *others))

        replace_in_modules_of_controller(upgrade.__name__, add_column_and_upgrade)

    def _pass(self, name: str) -> None:
        with self._lock:
            self._count += 1
            if self.points:
                with Path(self.points).open("a", encoding="utf-8") as file:
                    file.write(f"{name}\n")
            if self._count == self.nth:
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)

    def _wrap_call(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        @wraps(call)
        def wrapped(*arguments: Any, **named: Any) -> Any:
            self._pass(f"before {name}")
            try:
                return call(*arguments, **named)
            finally:
                self._pass(f"after {name}")

        return wrapped

    def _wrap_write(self, write: Callable[..., Any]) -> Callable[..., Any]:
        @contextmanager
        def wrapped(*arguments: Any) -> Iterator[Any]:
            with write(*arguments) as writer:
                yield writer
                self._pass("before commit")
            self._pass("after commit")

        return wrapped


if __name__ == "__main__":
    Altered(**json.loads(sys.argv[1])).alter()
    del sys.argv[1]
    from synapse_apply.cli.main import main

    main()
