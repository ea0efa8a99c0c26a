"""What renaming an address means for the records around it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from synapse_apply.model.address import Address
from synapse_apply.model.state import Record


def renamed(records: Iterable[Record], old: Address, new: Address) -> list[Record]:
    """The records that change: the one at `old`, and those that depend on it."""
    changed = []
    for record in records:
        depends_on = tuple(new if at == old else at for at in record.depends_on)
        address = new if record.address == old else record.address
        if address != record.address or depends_on != record.depends_on:
            changed.append(replace(record, address=address, depends_on=depends_on))
    return changed
