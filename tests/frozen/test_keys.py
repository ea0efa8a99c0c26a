"""The JSON keys of stored values, by where they stand: what a renamed field must not change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from frozen import samples

from synapse_apply import Plan
from synapse_apply.model.address import Address
from synapse_apply.model.codec import get_json_key, is_required_field
from synapse_apply.model.json_values import FORM_METADATA_KEY
from synapse_apply.model.plan import Change
from synapse_apply.model.remote import DryRunCounts
from synapse_apply.model.state import STATE_FORMAT, AuditEntry, Intent, Record, State

FILE = Path(__file__).resolve().parent / "keys.json"
# By what they are to users. All that `json_shapes` is asked to code, but flat fields.
ROOTS: dict[str, Any] = {
    "record": Record,
    "intent": Intent,
    "audit": AuditEntry,
    "state": State,
    "plan": Plan,
    "change": Change,
    "trial": DryRunCounts,
}
# What is written again, and so loses what its writer does not know. An audit entry never is.
OF_STATES = ("record", "intent")
_OF_FIELDS = ("sensitive", "note", "inside", "stable_after", "origin", "reference")
FROZEN: dict[str, list[str]] = json.loads(FILE.read_text())


def walk_keys(path: str, hint: Any) -> Iterator[tuple[str, list[str]]]:
    """Each object and each choice below a type, by its place, with its keys or its values.

    A key that a file may lack ends in `?`, one whose text has a form in `~`.
    """
    if isinstance(hint, type) and issubclass(hint, Enum):
        yield path, [f"={member.value}" for member in hint]
    elif hint is Address:
        return
    elif is_dataclass(hint):
        hints = get_type_hints(hint)
        yield (
            path,
            [
                f"{get_json_key(field)}{'' if is_required_field(field) else '?'}{'~' if FORM_METADATA_KEY in field.metadata else ''}"
                for field in fields(hint)
            ],
        )
        for field in fields(hint):
            yield from walk_keys(f"{path}.{get_json_key(field)}", hints[field.name])
    else:
        for below in get_args(hint):
            yield from walk_keys(path, below)


def walk_values(path: str, hint: Any, value: Any) -> Iterator[tuple[str, str]]:
    """The place and the key of everything in a value that is not as it would be by default."""
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        for field in fields(hint):
            part, key = getattr(value, field.name), get_json_key(field)
            if is_required_field(field) or part not in (field.default, None, (), {}):
                yield path, key
                yield from walk_values(f"{path}.{key}", hints[field.name], part)
    elif isinstance(value, tuple) and hint is not Address:
        for below in value:
            yield from walk_values(path, get_args(hint)[0], below)
    elif isinstance(value, dict) and get_args(hint):
        for below in value.values():
            yield from walk_values(path, get_args(hint)[-1], below)
    else:
        for below in get_args(hint):
            if is_dataclass(below) and isinstance(value, below):
                yield from walk_values(path, below, value)


def read_keys() -> dict[str, list[str]]:
    return {where: keys for root, hint in ROOTS.items() for where, keys in walk_keys(root, hint)}


def test_the_list_is_of_all_that_is_stored() -> None:
    """Each object and each choice; a new one is added to keys.json."""
    assert read_keys().keys() == FROZEN.keys()


@pytest.mark.parametrize("where", FROZEN)
def test_keys_stay(where: str) -> None:
    """Every key that files have is there, in its order, and may be left out where it might be.

    A renamed field says its key: `field(metadata={KEY: "the_old_name"})`. A new one has a default.
    """
    now, was = read_keys()[where], FROZEN[where]
    assert [key for key in now if key in was] == was
    added = [key for key in now if key not in was]
    assert all("?" in key or key.startswith("=") for key in added), added
    assert len({key.rstrip("?~") for key in now}) == len(now)


def test_a_version_that_stores_more_has_a_format_of_its_own() -> None:
    """An earlier one drops from a record what it does not know, so that it must be refused.

    With a release, `state-format-N.json` is written: the keys of records and intents that it has.
    """
    now = {key: value for key, value in read_keys().items() if key.split(".")[0] in OF_STATES}
    for path in FILE.parent.glob("state-format-*.json"):
        if json.loads(path.read_text()) != now:
            assert int(path.stem.rpartition("-")[2]) < STATE_FORMAT, path


def test_the_frozen_values_have_every_key() -> None:
    """Each field is set in one of the samples, so that reading them proves all keys."""
    state = samples.build_contents()
    set_keys = {
        pair
        for root, values in {
            "record": samples.build_records(),
            "intent": (*samples.build_intents(), *(ended[0] for ended in samples.build_ended())),
            "audit": state.audit,
            "state": (state.state,),
            "plan": (samples.build_plan(),),
        }.items()
        for value in values
        for pair in walk_values(root, ROOTS[root], value)
    }
    all_keys = {
        (where, key.rstrip("?~"))
        for where, keys in FROZEN.items()
        for key in keys
        if not key.startswith("=") and where.split(".")[0] not in {"change", "trial"}
    }
    # A state holds open calls alone; the same class is set elsewhere.
    unset = {(f"plan.changes.{side}", key) for side in ("held", "accepted") for key in _OF_FIELDS}
    # They came after these files, and are left out of what is written without them.
    unset |= {("plan.changes.fields", key) for key in ("stable_after", "origin", "reference")}
    unset |= {
        (path, key)
        for path in ("intent", "state.open_intents")
        for key in ("approvals", "before", "found", "sender")
    }
    unset |= {("audit", "trace"), ("audit", "settled_by")}
    unset |= {(path, "given_up") for path in ("record", "state.records")}
    unset |= {(path, key) for path, key in all_keys if ".given_up" in path}
    unset |= {("state", "forgotten_calls")}
    unset |= {(path, key) for path, key in all_keys if ".forgotten_calls" in path}
    unset |= {
        (path, key) for path in ("record", "state.records") for key in ("replaced_at", "doubted")
    }
    assert all_keys - set_keys == {("state.open_intents", "state"), *unset}
