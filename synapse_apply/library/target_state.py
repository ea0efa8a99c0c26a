"""Which methods a script has for the state of one target; none calls the backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from synapse_apply.library.arguments import (
    require_address,
    require_names,
    require_text,
    resolve_path,
)
from synapse_apply.library.target_connection import TargetConnection

if TYPE_CHECKING:
    from synapse_apply.model.address import Address
    from synapse_apply.model.state import Record, State


class TargetState:
    """The state of a target, as `OpenTarget.state` returns it."""

    def __init__(self, connection: TargetConnection) -> None:
        """`OpenTarget.state` is the way to get one."""
        self._connection = connection

    def read(self) -> State:
        """Everything that is recorded: records by address, open calls, lineage, serial."""
        from synapse_apply.operations.state import read_state

        with self._connection.open_state() as session:
            return read_state(session)

    def find_record(self, name: str) -> Record:
        """The record of one resource; StateError without one, InputError where several match."""
        from synapse_apply.operations.state import require_record
        from synapse_apply.workspace.selection import build_state_selectable, choose_address

        name = require_text("name", name)
        with self._connection.open_state() as session:
            selectable = build_state_selectable(session.store.read_state())
            return require_record(session, choose_address(selectable, name))

    def list_inventory(self) -> list[dict[str, object]]:
        """Address, id, version and digest of every record, as `state inventory` prints them."""
        from synapse_apply.operations.state import build_inventory_rows

        with self._connection.open_state() as session:
            return build_inventory_rows(session)

    def write_backup(self, file: Path | str) -> None:
        """Copy the whole state to a file, consistent even while an apply runs."""
        from synapse_apply.operations.state import write_state_backup

        path = resolve_path("file", file, self._connection.invocation.directory)
        with self._connection.open_state() as session:
            write_state_backup(session, path)

    def forget(self, names: Sequence[str]) -> list[Address]:
        """Remove records; the live objects stay. Returns the addresses that were removed."""
        from synapse_apply.operations.state import forget_addresses
        from synapse_apply.workspace.selection import build_state_selectable, choose_addresses

        names = require_names("names", names)
        with self._connection.open_state() as session:
            selectable = build_state_selectable(session.store.read_state())
            addresses = choose_addresses(selectable, names)
            forget_addresses(session, addresses)
        return addresses

    def rename(self, name: str, new_address: Address | str) -> Mapping[Address, Address]:
        """Rename a record, and its releases' records with it; returns the new address of each.

        `new_address` is an Address or a text KIND/NAME; InputError for anything else.
        """
        from synapse_apply.operations.state import rename_address
        from synapse_apply.workspace.selection import build_state_selectable, choose_address

        name = require_text("name", name)
        new_address = require_address("new_address", new_address)
        with self._connection.open_state() as session:
            old = choose_address(build_state_selectable(session.store.read_state()), name)
            return rename_address(session, old, new_address)
