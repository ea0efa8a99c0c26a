"""A second live object with the natural key of a recorded one, and the words for it.

Servers may take a second object of one name. Nothing of ours makes one, but a hand, another tool or
an answer that was lost beyond recovery may have; then some of what runs uses the other one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from synapse_apply.kinds.descriptor import Binding, Raw, ResourceType
from synapse_apply.kinds.search import members_of, read_object
from synapse_apply.kinds.wire import remote_id
from synapse_apply.model.address import Address, in_order
from synapse_apply.model.diagnostic import Diagnostic, Position, warning
from synapse_apply.model.errors import NotFound, RemoteError
from synapse_apply.model.marks import SecretMarks
from synapse_apply.model.observed import Observed
from synapse_apply.model.ports import Api
from synapse_apply.model.state import Record
from synapse_apply.model.values import ABSENT

# Of a list that is only looked at for this a plan reads so many pages; doctor reads all.
FEW_PAGES = 2


def glanced(api: Api, binding: Binding, most_pages: int) -> Sequence[Raw]:
    """The listed objects of a kind, of one reading; none where there is no list or it is longer."""
    if binding.glance is None:
        return ()
    try:
        return binding.glance(api, most_pages, lambda _items: True) or ()
    except RemoteError:
        return ()  # what the plan itself needs of this list says what is wrong


def listed_of(api: Api, binding: Binding, owners: Iterable[Observed]) -> list[Raw]:
    """The listed objects of these owners, of a kind that is listed by owner only."""
    listed: list[Raw] = []
    for owner in owners:
        with suppress(RemoteError):  # what the plan itself needs says what is wrong
            listed.extend(members_of(api, binding, owner) or ())
    return listed


def owners_recorded(
    api: Api,
    kind: ResourceType,
    binding: Binding,
    records: Mapping[Address, Record],
    marks: SecretMarks,
) -> Iterator[Observed]:
    """The live owners of recorded members of series, each read once; `binding` is the owners'."""
    owners = {record.seen.get((kind.series,)) for record in records.values()}
    for owner in sorted(each for each in owners if isinstance(each, str)):
        with suppress(NotFound):
            yield read_object(api, binding, owner, marks)


def twins(
    kind: ResourceType,
    binding: Binding,
    records: Mapping[Address, Record],
    listed: Iterable[Raw],
    marks: SecretMarks,
) -> Iterator[tuple[Address, tuple[str, ...]]]:
    """Recorded addresses of a kind, each with the ids of other live objects that have its key."""
    ids: dict[str, list[str]] = defaultdict(list)
    for raw in listed:
        for key in _keys_of(kind, binding, raw, marks):
            ids[key].append(remote_id(raw))
    for address in in_order(records):
        record = records[address]
        keys = _keys_recorded(kind, record) if record.api == binding.api else ()
        found = {one for key in keys for one in ids.get(key, ())}
        if record.remote_id in found and len(found) > 1:
            yield address, tuple(sorted(found - {record.remote_id}))


def finding_of(
    address: Address, record: Record, others: Sequence[str], position: Position | None = None
) -> Diagnostic:
    """The warning that there is a second one, and what to do."""
    ids = ", ".join(others)
    what = (
        f"{record.natural_key.partition('=')[2]!r}" if record.natural_key else "the same identity"
    )
    return warning(
        "A second live object has the same natural key",
        f"{address} is recorded with id {record.remote_id}, and id {ids} has {what}, too. "
        "Nothing tells which one is used.",
        f"Find out which is yours. Delete the other one in the product; if it is id {others[0]}, "
        f"`synapse-apply state rm {address}` and `synapse-apply import {address} {others[0]}`.",
        address=str(address),
        position=position,
    )


def _keys_of(kind: ResourceType, binding: Binding, raw: Raw, marks: SecretMarks) -> Iterable[str]:
    if keys := binding.keys(raw):
        return keys
    spec = binding.decode(raw, marks).spec
    return _identity(kind, [spec.get(name, ABSENT) for name in kind.identity])


def _keys_recorded(kind: ResourceType, record: Record) -> Iterable[str]:
    if record.natural_key:
        yield record.natural_key
    yield from _identity(kind, [record.seen.get((name,), ABSENT) for name in kind.identity])


def _identity(kind: ResourceType, values: Sequence[object]) -> Iterable[str]:
    """The identity of an object that has no natural key in a list, such as plugin and version."""
    if len(values) < 2 or not all(isinstance(value, str) for value in values):
        return ()
    return (f"{kind.prefix}:{'@'.join(map(str, values))}",)
