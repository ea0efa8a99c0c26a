"""The digest by which a row is approved: equal for the same effect, whatever plan it stands in."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from laws.effort import effort
from unit.planning.test_laws import objects
from unit.planning.world import Data, situation

from synapse_apply import Plan
from synapse_apply.model.address import Address
from synapse_apply.model.codec import plan_from_json, plan_to_json
from synapse_apply.model.job import Verification
from synapse_apply.model.json_values import format_canonical_json
from synapse_apply.model.plan import Action, Cause, Change, FieldChange
from synapse_apply.planning.diff import UNCHECKED_NOTE
from synapse_apply.planning.narrow import compute_guard_digest
from synapse_apply.planning.planner import build_plan
from synapse_apply.planning.rows import compute_row_digest, has_same_effect, is_irreversible

SECRET, OTHER_SECRET = {"$secret": "s"}, {"$secret": "t"}


def plan(found: dict[str, Data], **choices: Any) -> Plan:
    return build_plan(situation(found, **choices))


def digest(found: dict[str, Data], name: str = "widget/a", **choices: Any) -> str:
    made = plan(found, **choices)
    (row,) = (change for change in made.changes if str(change.address) == name)
    return compute_row_digest(row, made.base)


def test_it_says_its_form() -> None:
    """`row1:` and 64 hex digits."""
    prefix, _, digits = digest({"widget/a": {"spec": {"note": "x"}}}).partition(":")
    assert prefix == "row1"
    assert len(digits) == 64
    assert set(digits) <= set("0123456789abcdef")


ROWS: dict[str, Data] = {
    "create": {"spec": {"note": "x", "config": {"key": SECRET}}},
    "adopt": {"spec": {"note": "x"}, "live": {"note": "y"}},
    "update": {"spec": {"note": "x"}, "live": {"note": "y"}, "record": {"applied": {"note": "y"}}},
    "recreate-missing": {"spec": {"note": "x"}, "record": None},
    "delete": {"live": {"note": "x"}, "record": {"applied": {"note": "x"}}},
}


@pytest.mark.parametrize("action", ROWS)
def test_what_it_is_of(action: str) -> None:
    """Each action; the same through JSON, and another in another state, tenant and data set."""
    made = plan({"widget/a": ROWS[action]}, prune=True)
    (row,) = made.changes
    assert row.action.value == action
    same = plan_from_json(json.loads(format_canonical_json(plan_to_json(made))))
    first = compute_row_digest(row, made.base)
    assert compute_row_digest(same.changes[0], same.base) == first
    binding = made.base.binding
    others = [
        replace(made.base, lineage="other"),
        replace(made.base, binding=replace(binding, tenant="other")),
        replace(made.base, binding=replace(binding, url="http://other")),
        replace(made.base, binding=replace(binding, data_set="other")),
    ]
    assert first not in {compute_row_digest(row, base) for base in others}
    # Commit, serial and name of the target say nothing of what is done.
    labels = replace(made.base, serial=99, commit="c", target="renamed", manifests_digest="m")
    assert compute_row_digest(row, labels) == first


def test_each_part_counts() -> None:
    """Address, action, id, fields, fingerprint, packages, companion and run."""
    made = plan({"widget/a": ROWS["update"]})
    (row,) = made.changes
    run = Verification({"parameters": {}}, "p", "never verified")
    others = [
        replace(row, address=Address.parse("widget/b")),
        replace(row, action=Action.ADOPT),
        replace(row, remote_id="99"),
        replace(row, fields=()),
        replace(row, fields=(replace(row.fields[0], before="z"),)),
        replace(row, fields=(replace(row.fields[0], after="z"),)),
        replace(row, fields=(replace(row.fields[0], sensitive=True),)),
        replace(row, fingerprint="f"),
        replace(row, extras={"package": {"digest": "d"}}),
        replace(row, extras={"published_digest": "d"}),
        replace(row, extras={"carries": "widget/z"}),
        replace(row, verification=run),
        replace(row, verification=replace(run, timeout=1.0)),
    ]
    digests = [compute_row_digest(change, made.base) for change in (row, *others)]
    assert len(set(digests)) == len(digests)
    # Why a run is due, and whether it was started, are no part of it; nor are notes and causes.
    words = replace(run, reason="its parameters changed", job="12")
    worded = replace(row, verification=words, notes=("n",), reason="r", depends_on=(row.address,))
    assert compute_row_digest(worded, made.base) == digests[-2]


@pytest.mark.parametrize("action", ["create", "adopt", "update"])
def test_another_secret_is_another_row(action: str) -> None:
    """Of each action that sends it; the same secret is the same row."""
    sides = {
        "create": {},
        "adopt": {"live": {"config": {"key": {"$mac": "o"}}}},
        "update": {
            "live": {"config": {"key": {"$withheld": "masked"}}},
            "record": {"applied": {"config": {"key": {"$secret": "o"}}}},
        },
    }[action]
    first, again, other = (
        digest({"widget/a": {"spec": {"config": {"key": secret}}, **sides}})
        for secret in (SECRET, SECRET, OTHER_SECRET)
    )
    assert first == again
    assert first != other


def test_a_reference_counts_with_the_id_of_an_object_that_is_there() -> None:
    """Another object of the same address is another effect; the id of one to be made is not."""
    parent: Data = {"id": "x-17", "spec": {"note": "p"}}
    child: Data = {"spec": {"note": "c", "parent": {"$ref": "widget/p"}}}
    before = digest({"widget/p": parent, "widget/a": child})
    assert digest({"widget/p": {**parent, "id": "x-18"}, "widget/a": child}) == before
    made = {**parent, "live": {"note": "p"}, "record": None}
    first = digest({"widget/p": made, "widget/a": child})
    assert first != before
    changed = {**made, "live": {"note": "other"}}
    assert digest({"widget/p": changed, "widget/a": child}) == first
    # The same id as a plain text, or another object's id, is another effect.
    plain: Data = {"spec": {"note": "c", "parent": "x-17"}}
    other: Data = {"spec": {"note": "c", "parent": {"$ref": "widget/q"}}}
    others = [
        digest({"widget/p": {**made, "id": "x-18"}, "widget/a": child}),
        digest({"widget/p": made, "widget/a": plain}),
        digest({"widget/p": made, "widget/q": parent, "widget/a": other}),
        digest({"widget/p": made, "widget/q": made, "widget/a": other}),
    ]
    assert len({before, first, *others}) == 6


# As they were computed before a reference counted with an id.
KEPT = {
    "create": "1ab162a7be041778d6051a627fd243e5855d21fdf5d79e568a27cf3fc8bb7d1f",
    "adopt": "298c47f3c76c5406642cc61ae1b6cac5595312ee9a38e41e7a1e23d0e98e1d1f",
    "update": "d258d07828c23b9e8e381f25f0a03bee8af3e445f0eb7287efd56d602c4dcaa2",
    "recreate-missing": "5b703a86861d29b3458d79dc9826d5c953d2bede32172ffff6d0174a983f6409",
    "delete": "8a6912501ef4f9d059346f1689a337dcb3f5c1cfb7b365f3c171b4946c7429d1",
    "create a child": "3929068458abdbc17c2b99f28d764864a148cbb79e2cd691f5946fa6c484ec6a",
}


@pytest.mark.parametrize("row", KEPT)
def test_approvals_of_an_earlier_version_count_on(row: str) -> None:
    """Of each row that refers to no object that is there: its digest is the one that it had."""
    child: Data = {"spec": {"note": "c", "parent": {"$ref": "widget/p"}}}
    found = {"widget/p": {"spec": {"note": "p"}}, "widget/a": ROWS.get(row, child)}
    assert digest(found, prune=True) == f"row1:{KEPT[row]}"


@effort(20, 800)
@given(objects(), objects())
def test_equal_digests_mean_the_same_effect(
    first: dict[str, Data], second: dict[str, Data]
) -> None:
    """And the same effect has equal digests, of rows whose secrets are the same."""
    rows: list[tuple[Change, str]] = []
    for found in (first, second):
        made = plan(found, prune=True)
        rows += [(change, compute_row_digest(change, made.base)) for change in made.changes]
    for left, left_digest in rows:
        for right, right_digest in rows:
            is_same = left.address == right.address and has_same_effect(left, right, reviewed=False)
            are_secrets_same = describe_secrets(left) == describe_secrets(right)
            assert (left_digest == right_digest) == (is_same and are_secrets_same)


def describe_secrets(change: Change) -> tuple[list[str], bool]:
    """The keyed digests of what is sent, and whether a secret was not checked.

    With one that was not, a row is one of these manifests alone.
    """
    is_unchecked = any(UNCHECKED_NOTE in note for note in change.notes)
    return [field.stable_after for field in change.fields], is_unchecked


def test_a_guard_is_of_its_rows() -> None:
    """Its name, its limit and what it counts; rows that it does not count may change."""
    found: dict[str, Data] = {
        f"widget/{name}": {"spec": {"note": name}, "record": None, "lookup": "none"}
        for name in "ab"
    }
    made = plan({**found, "widget/z": ROWS["create"]})
    (guard,) = made.guards
    assert guard.name == "recreate"
    first = compute_guard_digest(guard, made)
    other_create = plan({**found, "widget/z": {"spec": {"note": "other"}}})
    assert compute_guard_digest(guard, other_create) == first
    fewer = plan({**found, "widget/b": {"spec": {"note": "b"}}})
    assert compute_guard_digest(guard, fewer) != first
    assert compute_guard_digest(replace(guard, limit=1), made) != first
    # One that judges the target as a whole is of all rows.
    whole = replace(guard, name="mass-missing")
    assert compute_guard_digest(whole, made) != compute_guard_digest(whole, other_create)


LOCK = FieldChange(("locked",), False, True, Cause.GIT)
NAME = FieldChange(("name",), "a", "b", Cause.GIT)


@pytest.mark.parametrize(
    ("address", "api", "action", "more", "is_final"),
    [
        ("release/a@1", "v1", Action.CREATE, {}, True),
        ("release/a@1", "v2", Action.CREATE, {}, True),
        ("release/a@1", "v2", Action.RECREATE, {}, True),
        ("release/a@1", "v2", Action.UPDATE, {"fields": (LOCK,)}, True),
        ("release/a@1", "v2", Action.UPDATE, {"extras": {"package": {}}}, True),
        ("release/a@1", "v2", Action.DELETE, {}, True),
        ("release/a@1", "v2", Action.FORGET, {}, False),
        ("release/a@1", "v2", Action.ADOPT, {}, False),
        ("plugin/a", "v1", Action.CREATE, {}, True),
        ("plugin/a", "v1", Action.UPDATE, {"fields": (NAME,)}, False),
        ("storage/a", "v1", Action.CREATE, {}, True),
        ("storage/a", "v1", Action.UPDATE, {"fields": (NAME,)}, False),
    ],
)
def test_what_no_later_call_undoes(address, api, action, more, is_final):
    """By what the kind can do on that API: what is published stays so, though it can be deleted."""
    change = Change(Address.parse(address), action, api=api, **more)
    assert is_irreversible(change) is is_final
