"""Which exceptions of a target end, and what an accepted difference is after its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.compare import is_same_value
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.dated_exception import DatedException
from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.phrases import format_field_path, format_short_list
from synapse_apply.model.state import Record
from synapse_apply.model.values import Mac, get_at_or_absent, unflatten


def iter_accepted_paths(record: Record) -> Iterator[FieldPath]:
    """The accepted fields that still differ, as far as the record shows."""
    kind = CATALOGUE.get(record.address.kind)
    if record.accepted is None or kind is None:
        return
    applied_tree, seen_tree = unflatten(record.applied), unflatten(record.seen)
    for path in record.accepted.paths:
        rule = kind.rules.get(str(path[0]))
        values = get_at_or_absent(applied_tree, path), get_at_or_absent(seen_tree, path)
        # The server does not show the secret, so that nothing tells whether it still differs.
        is_hidden = isinstance(values[0], Mac) and not isinstance(values[1], Mac)
        if not is_hidden and not is_same_value(*values, *((rule.compare,) if rule else ())):
            yield path


def accepted_exceptions(records: Mapping[Address, Record]) -> Iterator[DatedException]:
    """The accepted differences that end, of records as they are in the state."""
    for address, record in sorted(records.items()):
        accepted = record.accepted
        if accepted is None or not accepted.until:
            continue
        if paths := tuple(iter_accepted_paths(record)):
            fields = format_short_list(map(format_field_path, paths))
            yield DatedException(
                paths,
                f"The accepted difference of {address} ({fields})",
                accepted.until,
                accepted.reason,
                str(address),
                Text(Command("state accept", address), " accepts it again."),
            )


def records_on_day(records: Mapping[Address, Record], today: str) -> Mapping[Address, Record]:
    """The records as they count on a day: an accepted difference that has ended is undone."""
    ended = [one for one in records.values() if one.accepted and one.accepted.has_ended(today)]
    if not ended:
        return records
    # Here, not above: few states have one.
    from synapse_apply.applying.records import revert_acceptance

    return {**records, **{one.address: revert_acceptance(one) for one in ended}}
