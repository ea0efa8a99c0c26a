"""Fuzzes cells of a state: a value of another shape, or of another type than its column's."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from fuzz.json_mutations import broken_bytes, mutated, odd_value, text_of
from fuzz.tool import execute
from fuzz.worlds import copy_example

_CELLS: tuple[Any, ...] = (
    *(None, "", 0, -1, 1.5, 2**62, b"", b"\xff\xfe\x00", "x" * 100_000, "\x00", "{}", "[]", "null"),
    *("NaN", "\u202e", "../../x", "9" * 400, "9999-12-31T23:59:60Z", b"{}", "true", '"x"'),
)
_COMMANDS = (
    ("state", "show"),
    ("state", "show", "--json"),
    ("plan", "-t", "embedded"),
    ("plan", "-t", "embedded", "--json"),
    ("state", "history"),
    ("state", "history", "--json"),
    ("show", "storage/raw-data"),
    ("show", "release/image-processing@1.0.0", "--json"),
    ("state", "show", "plugin/image-processing"),
    ("state", "show", "--inventory"),
    ("drift",),
    ("doctor",),
    ("state", "backup", "copy.db"),
    ("apply", "--auto-approve"),
    ("state", "settle"),
    ("export", "--all", "--to", "out"),
    (
        "validate",
        "--graph",
    ),
)


class States:
    """The state of an applied quickstart, with open calls in it."""

    name = "states"
    environment: ClassVar = {"RAW_DATA_KEY_ID": "AKIA"}

    def prepare(self, folder: Path) -> None:
        copy_example("quickstart", folder)
        if execute("apply", "-t", "embedded", "--auto-approve"):
            raise RuntimeError("the quickstart could not be applied")
        self.folder = folder
        self.state = folder / ".synapse-apply" / "state" / "embedded.db"
        with closing(sqlite3.connect(self.state)) as state:
            _add_intents(state, "plugin/image-processing")
            state.commit()
        self.before = folder / "before"
        shutil.copytree(folder / ".synapse-apply", self.before, symlinks=True)
        self.cells = _cells(self.state)

    def make(self, random: Random) -> bytes:
        """The changes as JSON lines: statement and values that are no JSON are written as such."""
        changes = []
        for _ in range(random.choice((1, 1, 1, 2, 4))):
            table, column, row, value = random.choice(self.cells)
            changes.append([table, column, row, _plain(_other(value, random))])
        return json.dumps(changes).encode()

    def run(self, data: bytes, random: Random) -> None:
        now = self.folder / ".synapse-apply"
        shutil.rmtree(now, ignore_errors=True)
        shutil.copytree(self.before, now, symlinks=True)
        with closing(sqlite3.connect(self.state)) as state:
            for table, column, row, value in json.loads(data):
                is_bytes = isinstance(value, dict) and value.get("as") == "text"
                cell = "CAST(? AS TEXT)" if is_bytes else "?"
                change = f"UPDATE OR IGNORE {table} SET {column} = {cell} WHERE rowid = ?"
                try:
                    state.execute(change, (_cell(value), row))
                except (sqlite3.IntegrityError, OverflowError):
                    continue
            state.commit()
        for command in random.sample(_COMMANDS, 3):
            arguments = command if "-t" in command else (*command, "-t", "embedded")
            shutil.rmtree(self.folder / "out", ignore_errors=True)
            (self.folder / "copy.db").unlink(missing_ok=True)
            execute(*arguments)


def _add_intents(state: sqlite3.Connection, address: str) -> None:
    """Calls whose outcome is unknown, as a run that was killed leaves them."""
    from synapse_apply.model import codec
    from synapse_apply.model.address import Address
    from synapse_apply.model.state import Intent

    for number, verb in enumerate(("create", "update", "delete", "run")):
        intent = Intent(
            id=f"0000000{number}-0000-4000-8000-000000000000",
            plan_id="p",
            address=Address.parse(address),
            verb=verb,
            api="v1",
            natural_key="code=image-processing",
            sent_at="2026-01-01T00:00:00Z",
            deadline=30.0,
        )
        text = json.dumps(codec.intent_to_json(intent))
        state.execute(
            "INSERT INTO intents VALUES (?, ?, ?, ?)", (intent.id, 1000 + number, address, text)
        )


def _cells(path: Path) -> list[tuple[str, str, int, Any]]:
    found = []
    with closing(sqlite3.connect(path)) as state:
        tables = [
            name for (name,) in state.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        for table in tables:
            columns = [row[1] for row in state.execute(f"PRAGMA table_info({table})")]
            for row in state.execute(f"SELECT rowid, * FROM {table}").fetchall():
                found += [
                    (table, column, row[0], value)
                    for column, value in zip(columns, row[1:], strict=True)
                ]
    return found


def _other(value: Any, random: Random) -> Any:
    if isinstance(value, str) and value[:1] == "{" and random.random() < 0.85:
        text = text_of(mutated(json.loads(value), random))
        if random.random() < 0.1:
            return broken_bytes(text.encode("utf-8", "surrogatepass"), random).decode("latin-1")
        return text
    if random.random() < 0.3:
        return text_of(odd_value(random))
    return random.choice((*_CELLS, {"hex": "ff00", "as": "text"}, {"hex": "6100ed", "as": "text"}))


def _plain(value: Any) -> Any:
    return {"hex": value.hex()} if isinstance(value, bytes) else value


def _cell(value: Any) -> Any:
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"])
    return (
        value.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        if isinstance(value, str)
        else value
    )
