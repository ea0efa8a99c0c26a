"""The state of one target as a Python object: what is recorded, shown and changed without calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from synapse_apply.library.target_connection import TargetConnection

if TYPE_CHECKING:
    from synapse_apply.model.address import Address
    from synapse_apply.model.state import Record, State


class TargetState:
    """The state of a target, as `OpenTarget.state` gives it.

    Nothing here reads manifests or asks the backend. Methods that write take the state's lock by
    themselves, and do not wait for it: LockHeld where another run has it. StateError where there is
    no state. A name is an address, or what `only` of `OpenTarget.plan` takes.
    """

    def __init__(self, connection: TargetConnection) -> None:
        """`OpenTarget.state` is the way to get one."""
        self._connection = connection

    def read(self) -> State:
        """All that is recorded: records by address, calls of unknown outcome, lineage, serial."""
        from synapse_apply.operations.state import read_state

        with self._connection.open_state() as session:
            return read_state(session)

    def find_record(self, name: str) -> Record:
        """The record of one resource; StateError where it has none, InputError for several."""
        from synapse_apply.operations.state import require_record
        from synapse_apply.workspace.selection import build_state_selectable, choose_address

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

        with self._connection.open_state() as session:
            write_state_backup(session, self._connection.invocation.directory / file)

    def forget(self, names: Sequence[str]) -> list[Address]:
        """Remove records; the live objects stay. Gives the addresses that were forgotten."""
        from synapse_apply.operations.state import forget_addresses
        from synapse_apply.workspace.selection import build_state_selectable, choose_addresses

        with self._connection.open_state() as session:
            selectable = build_state_selectable(session.store.read_state())
            addresses = choose_addresses(selectable, names)
            forget_addresses(session, addresses)
        return addresses

    def rename(self, name: str, new_address: Address) -> Mapping[Address, Address]:
        """Rename a record, and its releases with it; gives the new address of each."""
        from synapse_apply.operations.state import rename_address
        from synapse_apply.workspace.selection import build_state_selectable, choose_address

        with self._connection.open_state() as session:
            old = choose_address(build_state_selectable(session.store.read_state()), name)
            return rename_address(session, old, new_address)
