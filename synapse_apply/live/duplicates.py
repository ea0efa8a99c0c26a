"""When a second live object counts as a duplicate of a recorded one, and the warning for it.

Servers may accept two objects with one name. This tool creates none on purpose, but a person,
another tool or a call with a lost answer may have; then some users of it see the other object.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from synapse_apply.kinds.descriptor import Api, ApiBinding, ResourceType
from synapse_apply.kinds.search import read_observed
from synapse_apply.kinds.wire import require_remote_id_of_answer
from synapse_apply.model.address import Address
from synapse_apply.model.coding.json_types import ServerObject
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.errors import NotFound
from synapse_apply.model.resource import Desired, Observed
from synapse_apply.model.secrets.secret_marks import SecretMarks
from synapse_apply.model.state import Record


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


def iter_duplicate_warnings(
    kind: ResourceType,
    binding: ApiBinding,
    records: Mapping[Address, Record],
    raw_objects: Iterable[ServerObject],
    marks: SecretMarks,
    desired: Mapping[Address, Desired],
) -> Iterator[Diagnostic]:
    """A warning for each recorded address whose key another live object has, with what to do."""
    keys_with_raws = [
        (key, raw)
        for raw in raw_objects
        for key in binding.list_natural_keys(raw)
        or _joined_key(kind, map(binding.decode(raw, marks).spec.get, kind.identity_fields))
    ]
    has_equal_keys = len({key for key, _ in keys_with_raws}) < len(keys_with_raws)
    if not has_equal_keys and len(kind.identity_fields) <= 1:
        return  # each key has one object, and each record one key
    ids_by_key: dict[str, list[str]] = defaultdict(list)
    for key, raw in keys_with_raws:
        ids_by_key[key].append(require_remote_id_of_answer(raw))
    for address, record in sorted(records.items()):
        if record.api != binding.api:
            continue
        seen = (record.seen.get((name,)) for name in kind.identity_fields)
        keys = (record.natural_key, *_joined_key(kind, seen))
        ids = {object_id for key in keys if key for object_id in ids_by_key.get(key, ())}
        if record.remote_id not in ids or len(ids) == 1:
            continue
        others = sorted(ids - {record.remote_id})
        name = record.natural_key and f"{record.natural_key.partition('=')[2]!r}"
        yield warning_finding(
            "A second live object has the same natural key",
            f"{address} is recorded with id {record.remote_id}, and id {', '.join(others)} has "
            f"{name or 'the same identity'}, too. "
            "Nothing tells which one is used.",
            Text(
                "Find out which is yours. Delete the other one in Synapse; if it is id "
                f"{others[0]}, ",
                Command("state rm", address),
                " and ",
                Command("import", address, others[0]),
                ".",
            ),
            address=str(address),
            position=desired[address].position if address in desired else None,
        )


def _joined_key(kind: ResourceType, values: Iterable[object]) -> Iterable[str]:
    """The key of an object that several fields identify, such as plugin and version; else ()."""
    texts = [value for value in values if isinstance(value, str)]
    is_joined = len(texts) == len(kind.identity_fields) > 1
    return (f"{kind.prefix}:{'@'.join(texts)}",) if is_joined else ()
