"""When a second live object counts as a duplicate of a recorded one, and the warning for it.

Servers may accept two objects with one name. This tool creates none on purpose, but a person,
another tool or a call with a lost answer may have; then some users of it see the other object.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from synapse_apply.kinds.descriptor import Api, ApiBinding, ResourceType
from synapse_apply.kinds.search import read_observed
from synapse_apply.kinds.wire import require_remote_id_of_answer
from synapse_apply.model.address import Address
from synapse_apply.model.coding.json_types import ServerObject
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, Position, warning_finding
from synapse_apply.model.errors import NotFound
from synapse_apply.model.observed import Observed
from synapse_apply.model.secrets.secret_marks import SecretMarks
from synapse_apply.model.state import Record
from synapse_apply.model.values import ABSENT


def iter_live_owners(
    api: Api,
    kind: ResourceType,
    binding: ApiBinding,
    records: Mapping[Address, Record],
    marks: SecretMarks,
) -> Iterator[Observed]:
    """Read the owners of recorded members of series, each once; `binding` is the owners'."""
    owners = {record.seen.get((kind.series_field,)) for record in records.values()}
    for owner in sorted(each for each in owners if isinstance(each, str)):
        with suppress(NotFound):
            yield read_observed(api, binding, owner, marks)


def iter_duplicates(
    kind: ResourceType,
    binding: ApiBinding,
    records: Mapping[Address, Record],
    raw_objects: Iterable[ServerObject],
    marks: SecretMarks,
) -> Iterator[tuple[Address, tuple[str, ...]]]:
    """Recorded addresses with the ids of other live objects that have the same key."""
    keys_with_raws = [
        (key, raw) for raw in raw_objects for key in _live_keys(kind, binding, raw, marks)
    ]
    has_equal_keys = len({key for key, _ in keys_with_raws}) < len(keys_with_raws)
    if not has_equal_keys and not _has_joined_key(kind):
        return  # each key has one object, and each record one key
    ids_by_key: dict[str, list[str]] = defaultdict(list)
    for key, raw in keys_with_raws:
        ids_by_key[key].append(require_remote_id_of_answer(raw))
    for address in sorted(records):
        record = records[address]
        keys = _recorded_keys(kind, record) if record.api == binding.api else ()
        matching_ids = {object_id for key in keys for object_id in ids_by_key.get(key, ())}
        if record.remote_id in matching_ids and len(matching_ids) > 1:
            yield address, tuple(sorted(matching_ids - {record.remote_id}))


def build_duplicate_warning(
    address: Address, record: Record, other_ids: Sequence[str], position: Position | None = None
) -> Diagnostic:
    """The warning about a second object, with what to do."""
    ids_text = ", ".join(other_ids)
    identity_text = (
        f"{record.natural_key.partition('=')[2]!r}" if record.natural_key else "the same identity"
    )
    return warning_finding(
        "A second live object has the same natural key",
        f"{address} is recorded with id {record.remote_id}, and id {ids_text} has "
        f"{identity_text}, too. "
        "Nothing tells which one is used.",
        Text(
            "Find out which is yours. Delete the other one in Synapse; if it is id "
            f"{other_ids[0]}, ",
            Command("state rm", address),
            " and ",
            Command("import", address, other_ids[0]),
            ".",
        ),
        address=str(address),
        position=position,
    )


def _live_keys(
    kind: ResourceType, binding: ApiBinding, raw: ServerObject, marks: SecretMarks
) -> Iterable[str]:
    if keys := binding.list_natural_keys(raw):
        return keys
    spec = binding.decode(raw, marks).spec
    return _joined_key(kind, [spec.get(name, ABSENT) for name in kind.identity_fields])


def _recorded_keys(kind: ResourceType, record: Record) -> Iterable[str]:
    if record.natural_key:
        yield record.natural_key
    yield from _joined_key(
        kind, [record.seen.get((name,), ABSENT) for name in kind.identity_fields]
    )


def _has_joined_key(kind: ResourceType) -> bool:
    """Whether several fields together identify an object, beside its natural key."""
    return len(kind.identity_fields) > 1


def _joined_key(kind: ResourceType, values: Sequence[object]) -> Iterable[str]:
    """The key of an object that several fields identify, such as plugin and version; else ()."""
    if not _has_joined_key(kind) or not all(isinstance(value, str) for value in values):
        return ()
    return (f"{kind.prefix}:{'@'.join(map(str, values))}",)
