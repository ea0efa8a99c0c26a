"""Kinds and an API version made up here: all that the engine needs of them is their Bindings.

A shelf of API v9 is made together with its first book; its ids are texts, those of v1 numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from unit.applying.bench import Bench, outcome
from unit.applying.scripted import lost, refused

from synapse_apply.kinds.descriptor import (
    ApiBinding,
    Bootstrap,
    CreateConstraint,
    FieldRule,
    ResourceType,
    UpdateMode,
)
from synapse_apply.kinds.wire import require_remote_id_of_answer, select_sorted_non_null_fields
from synapse_apply.model.address import Address
from synapse_apply.model.plan import Action
from synapse_apply.model.project import Policy, PolicyRule
from synapse_apply.model.report import Result
from synapse_apply.model.resource import Desired, Lookup, Observed
from synapse_apply.model.state import Record
from synapse_apply.model.values import Reference

SHELF, BOOK = "shelf/a", "book/first"


def _decoded(api: str, *fields: str) -> Any:
    return lambda raw, _marks: Observed(
        require_remote_id_of_answer(raw), api, select_sorted_non_null_fields(raw, frozenset(fields))
    )


def _make(api: Any, body: Mapping[str, Any], _key: str) -> Mapping[str, Any]:
    """One call of the server, which makes both or neither."""
    title = {"title": body["first"]}
    shelf = api.make("shelf", {name: body[name] for name in body if name != "first"})
    shelf["id"] = f"s-{shelf['id']}"
    api.objects["shelf"] = {shelf["id"]: shelf}
    api.objects["book"]["b-1"] = {"id": "b-1", "shelf": shelf["id"], **title}
    return {**shelf, "first": api.objects["book"]["b-1"]}


SHELF_V9 = ApiBinding(
    api="v9",
    fields=frozenset({"name", "note", "wood"}),
    lookup={"name": Lookup.COMPLETE},
    read_object=lambda api, pk: api.get("shelf", pk),
    create_object=_make,
    update_object=lambda api, pk, body: api.change("shelf", pk, {**api.get("shelf", pk), **body}),
    update_mode=UpdateMode.PATCH,
    list_objects=lambda api: api.all("shelf"),
    lists_whole_objects=True,
    list_natural_keys=lambda raw: (f"name={raw['name']}",),
    decode=_decoded("v9", "name", "note", "wood"),
    encode=dict,
    immutable={"wood": "wood does not change"},
    create_constraints={
        "wood": CreateConstraint(
            "oak or ash", required_to_create=True, choices=frozenset({"oak", "ash"})
        )
    },
    bootstrap=Bootstrap(
        "book",
        build_body=lambda shelf, book: {**shelf, "first": book["title"]},
        extract_member=lambda raw: raw.get("first"),
    ),
)
BOOK_V9 = ApiBinding(
    api="v9",
    fields=frozenset({"title", "shelf"}),
    lookup={"title": Lookup.COMPLETE},
    read_object=lambda api, pk: api.get("book", pk),
    create_object=lambda api, body, _key: api.make("book", body),
    list_objects=lambda api: api.all("book"),
    lists_whole_objects=True,
    list_natural_keys=lambda raw: (f"title={raw['title']}",),
    decode=_decoded("v9", "title", "shelf"),
    encode=dict,
)
SHELVES = ResourceType(
    kind="Shelf",
    prefix="shelf",
    rank=0,
    rules={name: FieldRule(name, reset_value="") for name in ("name", "note", "wood")},
    derive_natural_key=lambda spec, _parents: f"name={spec['name']}",
    identity_fields=("name",),
    bindings={"v1": replace(SHELF_V9, api="v1", bootstrap=None), "v9": SHELF_V9},
)
BOOKS = ResourceType(
    kind="Book",
    prefix="book",
    rank=1,
    rules={
        "title": FieldRule("title"),
        "shelf": FieldRule("shelf", immutable=True, references="shelf"),
    },
    derive_natural_key=lambda spec, _parents: f"title={spec['title']}",
    identity_fields=("shelf", "title"),
    bindings={"v9": BOOK_V9},
)


@pytest.fixture
def there(bench: Bench) -> Bench:
    """A target that says `api: v9`; its catalogue has nothing but these two kinds."""
    bench.catalogue = {"shelf": SHELVES, "book": BOOKS}
    bench.target = replace(bench.target, api={"*": "v9"})
    return bench


def shelf(**spec: Any) -> Desired:
    return Desired(Address.parse(SHELF), {"name": "a", "wood": "oak"} | spec)


def book() -> Desired:
    on = Reference(Address.parse(SHELF))
    return Desired(Address.parse(BOOK), {"title": "first", "shelf": on})


def test_one_call_makes_both(there: Bench) -> None:
    """Two rows, two outcomes, two records, one call; then nothing is left to do."""
    report = there.apply(shelf(), book())
    assert [(str(one.address), one.result) for one in report.outcomes] == [
        (SHELF, Result.DONE),
        (BOOK, Result.DONE),
    ]
    assert there.api.writes() == ["create_shelf"]
    assert (there.record(SHELF).remote_id, there.record(SHELF).api) == ("s-1", "v9")
    assert there.record(BOOK).applied == {("title",): "first", ("shelf",): "s-1"}
    assert not there.plan(shelf(), book()).plan.actionable_changes


def test_an_answer_that_shows_no_member_is_looked_up(there: Bench) -> None:
    """A server may leave the member out of its answer."""
    there.api.hides = frozenset({"first"})
    shown = replace(
        SHELF_V9, bootstrap=replace(SHELF_V9.bootstrap, extract_member=lambda _raw: None)
    )
    there.catalogue = {"shelf": replace(SHELVES, bindings={"v9": shown}), "book": BOOKS}
    assert there.apply(shelf(), book()).exit_code == 0
    assert there.record(BOOK).remote_id == "b-1"


def test_what_certainly_failed_made_neither(there: Bench) -> None:
    """The member was not tried; nothing stays open."""
    there.api.fail("create_shelf", refused(400))
    report = there.apply(shelf(), book())
    assert outcome(report, SHELF).result is Result.FAILED
    assert outcome(report, BOOK).result is Result.SKIPPED
    assert not there.store.read_state().open_intents
    assert there.apply(shelf(), book()).exit_code == 0


def test_what_nobody_saw_is_unknown_for_both(there: Bench) -> None:
    """The next runs believe that neither is there once it is time, and make both once."""
    there.api.fail("create_shelf", lost())
    report = there.apply(shelf(), book())
    assert {one.result for one in report.outcomes} == {Result.UNKNOWN}
    early = there.plan(shelf(), book()).plan
    assert all(change.is_refused for change in early.changes)
    there.clock.at = "2026-01-01T01:00:00.000000Z"
    assert there.apply(shelf(), book()).exit_code == 0
    assert len(there.api.objects["shelf"]) == len(there.api.objects["book"]) == 1


def test_what_a_version_fixes_is_refused_with_its_hint(there: Bench) -> None:
    """A patch sends what changed; what never changes here, or cannot be made, is a row."""
    there.apply(shelf(), book())
    there.apply(shelf(note="n"), book())
    assert there.api.bodies[-1] == ("update_shelf", {**there.live("a", "shelf"), "note": "n"})
    (row, *_) = there.plan(shelf(wood="ash"), book()).plan.changes
    assert "wood does not change" in row.refusals[0].reason
    fir = replace(shelf(name="b", wood="fir"), address=Address.parse("shelf/b"))
    made = there.plan(shelf(), book(), fir).plan
    refused_rows = {str(row.address): row.refusals[0].reason for row in made.refused_changes}
    assert "It accepts wood: oak or ash" in refused_rows["shelf/b"]


def test_an_owner_needs_a_member_to_go_along(there: Bench) -> None:
    """Without one, and without one that can go, the owner is refused with a way out."""
    (row,) = there.plan(shelf()).plan.changes
    assert "together with its first book, but the manifests declare none" in row.refusals[0].reason
    assert row.refusals[0].ways_out[0] == "declare a Book of a"


@pytest.mark.parametrize("address", [SHELF, BOOK])
def test_what_the_policy_refuses_is_not_made_along(there: Bench, address: str) -> None:
    """A rule against either stops the one call that would make both."""
    rule = PolicyRule("protected", "protected", only=(address,))
    there.target = replace(there.target, policy=Policy(rules=(rule,)))
    report = there.apply(shelf(), book())
    assert report.exit_code == 5
    assert there.api.writes() == []
    assert {str(row.address) for row in report.plan.refused_changes} == {SHELF, BOOK}


def test_ids_of_two_versions_are_not_one_space(there: Bench) -> None:
    """What another version recorded is looked for by its key, never by that id."""
    there.apply(shelf(), book())
    other = {"id": "7", "name": "other", "wood": "oak"}
    there.api.objects["shelf"]["7"] = other
    with there.store.lock("test"):
        there.store.write_records(
            Record(Address.parse(SHELF), "7", "v1", "name=a", seen={("name",): "a"})
        )
    rows = {str(row.address): row for row in there.plan(shelf(), book()).plan.changes}
    assert (rows[SHELF].action, rows[SHELF].remote_id) == (Action.ADOPT, "s-1")
    assert rows[SHELF].notes == ("recorded as id 7 of API v1",)
