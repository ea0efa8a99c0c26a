"""import and accept: what is recorded, what is refused, and what the next plan makes of it."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest
from unit.applying.bench import plugin, release, widget
from unit.applying.scripted import lost

from synapse_apply.model.address import Address
from synapse_apply.model.errors import InputError, StateError
from synapse_apply.model.values import SecretRef
from synapse_apply.operations.accept_difference import record_acceptance, require_acceptable
from synapse_apply.operations.import_ import record_all_live_objects_or_none
from synapse_apply.workspace.inventory_rows import InventoryRow, parse_inventory

W = Address("widget", "w")


def imported(bench, *desired, **ids):
    wanted = {Address("widget", name): InventoryRow(pk) for name, pk in ids.items()}
    return record_all_live_objects_or_none(bench.context(*desired), wanted)


def test_an_import_keeps_no_secret(bench):
    """A live secret is digested before it is recorded."""
    bench.environ["W_KEY"] = "s3cret"
    bench.api.make("widget", {"name": "w", "configuration": {"key": "s3cret", "x": 1}})
    (record,) = imported(
        bench, widget("w", configuration={"key": SecretRef("env", "W_KEY")}), w="1"
    )
    assert "s3cret" not in repr(record)
    assert "s3cret" not in repr(bench.store.read_state())


def test_rows_of_one_owner_that_are_read_at_once_have_its_name(bench, monkeypatch):
    """None takes the owner that another one still reads for one that cannot be read."""
    bench.api.make("plugin", {"name": "yolo", "code": "yolo"})
    both, get_plugin = threading.Barrier(2), bench.api.get_plugin
    rows = {}
    for version in ("1.0.0", "1.1.0"):
        made = bench.api.create_plugin_release({"plugin": 1, "version": version})
        rows[Address("release", f"yolo@{version}")] = InventoryRow(str(made["id"]))

    def get_slowly(pk):
        with suppress(threading.BrokenBarrierError):
            both.wait(2)
        return get_plugin(pk)

    monkeypatch.setattr(bench.api, "get_plugin", get_slowly)
    session = bench.context()
    session.parallelism = 2
    records = record_all_live_objects_or_none(session, rows)
    assert [record.natural_key for record in records] == ["code=yolo@1.0.0", "code=yolo@1.1.0"]


def test_all_or_nothing_with_every_finding(bench):
    """One wrong id spoils the whole file, and each is told."""
    bench.api.make("widget", {"name": "w"})
    with pytest.raises(InputError) as caught:
        imported(bench, w="1", x="77", y="78")
    assert [found.address for found in caught.value.diagnostics] == ["widget/x", "widget/y"]
    assert bench.store.read_state().records == {}


def test_a_read_that_fails_imports_nothing(bench):
    """And says that nothing was imported."""
    bench.api.fail("get_widget", lost())
    with pytest.raises(InputError) as caught:
        imported(bench, w="1")
    assert "Nothing was imported" in caught.value.diagnostics[0].hint


def test_one_object_twice_in_one_import(bench):
    """Two addresses of one file cannot have one id."""
    bench.api.make("widget", {"name": "w"})
    with pytest.raises((InputError, StateError)):
        imported(bench, w="1", x="1")
    assert bench.store.read_state().records == {}


def test_an_unknown_kind_names_the_kinds_there_are(bench):
    """The address is wrong, not the id."""
    with pytest.raises(InputError) as caught:
        record_all_live_objects_or_none(bench.context(), {Address("gizmo", "w"): InventoryRow("1")})
    assert "storage" in caught.value.diagnostics[0].hint


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({}, "it has no address"),
        ({"address": "widget/w"}, "it has no id"),
        ({"address": "widget/w", "id": ""}, "it has no id"),
        ({"address": "widget/w", "id": [1]}, "its id is a list"),
        ({"address": "widget/w", "id": True}, "its id is a boolean"),
        ({"address": "w", "id": 1}, "an address is KIND/NAME"),
        ({"address": "widget/w", "id": 1, "digest": "bogus"}, "the digest 'bogus' is not valid"),
        ("plugin/x", "it is a string, 'plugin/x', but a row needs an address and an id"),
        (None, "it is null, but a row needs an address and an id"),
        ([], "it is a list, but a row needs an address and an id"),
    ],
)
def test_rows_of_an_inventory_that_cannot_be_read(row, words):
    """Each with its number and the reason."""
    with pytest.raises(InputError) as caught:
        parse_inventory([{"address": "widget/a", "id": 1}, row], "inventory.yaml")
    assert "row 2 of inventory.yaml" in caught.value.diagnostics[0].detail
    assert words in caught.value.diagnostics[0].detail


def test_a_row_that_stands_twice_may_be_alike():
    """Two files put together; what differs names both rows and what they say."""
    rows = [{"address": "widget/a", "id": 1}, {"address": "widget/a", "id": "1", "digest": None}]
    assert [row.remote_id for row in parse_inventory(rows, "i.yaml").values()] == ["1"]
    with pytest.raises(InputError) as caught:
        parse_inventory([*rows, {"address": "widget/a", "id": 2, "api": "v2"}], "i.yaml")
    (found,) = caught.value.diagnostics
    assert found.detail == (
        "widget/a is in row 1 and in row 3 of i.yaml, with id 1 and 2, api (none) and v2."
    )


def test_the_digest_of_an_inventory_is_recorded_where_nothing_else_tells_one(bench):
    """What the server or the record says is right; another one in the row is a finding."""
    bench.api.create_plugin({"name": "yolo", "code": "yolo"})
    bench.api.create_plugin_release({"plugin": 1, "version": "1.0.0"})
    at = Address("release", "yolo@1.0.0")
    ours, other = (f"pkg1:sha256:{digit * 64}" for digit in "ab")
    (record,) = record_all_live_objects_or_none(
        bench.context(), {at: InventoryRow("2", digest=ours)}
    )
    assert record.digest == ours
    (record,) = record_all_live_objects_or_none(bench.context(), {at: InventoryRow("2")})
    assert record.digest == ours
    with pytest.raises(InputError) as caught:
        record_all_live_objects_or_none(bench.context(), {at: InventoryRow("2", digest=other)})
    assert f"has the digest {other}, but the state has {ours}" in caught.value.diagnostics[0].detail
    with pytest.raises(InputError) as caught:
        record_all_live_objects_or_none(
            bench.context(), {Address("plugin", "yolo"): InventoryRow("1", digest=ours)}
        )
    assert "a plugin has none" in caught.value.diagnostics[0].detail


def accept_all(bench, desired):
    """Accept what differs, whatever it is."""
    planned = bench.plan(desired)
    record_acceptance(bench.context(desired), planned, require_acceptable(planned, W))


def test_what_cannot_be_accepted(bench):
    """Not declared, not recorded, not live: each its own words."""
    desired = widget("w")
    with pytest.raises(InputError, match="not declared"):
        require_acceptable(bench.plan(), W)
    with pytest.raises(StateError, match="nothing to accept") as caught:
        accept_all(bench, desired)
    assert "not recorded" in caught.value.diagnostics[0].detail
    bench.apply(desired)
    bench.api.objects["widget"].clear()
    with pytest.raises(StateError, match="nothing to accept") as caught:
        accept_all(bench, desired)
    assert "not live" in caught.value.diagnostics[0].detail


def test_accepting_a_secret_records_its_digest(bench):
    """A secret changed in Synapse is accepted like any field, without its value."""
    bench.environ["W_KEY"] = "first"
    desired = widget("w", configuration={"key": SecretRef("env", "W_KEY")})
    bench.apply(desired)
    bench.environ["W_KEY"] = "second"
    bench.live("w")["configuration"]["key"] = "second"
    accept_all(bench, desired)
    assert not bench.plan(desired).plan.has_changes
    assert "second" not in repr(bench.record("widget/w"))


def test_an_object_that_is_recorded_already_keeps_what_is_known_of_its_bytes(bench):
    """Importing an inventory over a state that was not empty must not unlearn a digest."""
    bench.apply(plugin(), release())
    at = Address("release", "yolo@1.0.0")
    before = bench.record(str(at))
    record_all_live_objects_or_none(
        bench.context(plugin(), release()), {at: InventoryRow(before.remote_id)}
    )
    after = bench.record(str(at))
    assert (after.digest, after.files, after.salt) == (before.digest, before.files, before.salt)
    assert after.created_at == before.created_at
    assert not bench.plan(plugin(), release()).plan.has_changes
    changed = release(digest=f"pkg1:sha256:{'bb' * 32}")
    (note,) = bench.plan(plugin(), changed).plan.changes[-1].notes
    assert "unreleased changes" in note


@pytest.mark.parametrize(
    ("name", "words"),
    [("yolo", "NAME@VERSION"), ("@1.0.0", "NAME@VERSION"), ("yolo@2.0.0", "is version 1.0.0")],
)
def test_an_address_that_does_not_fit_the_version(bench, name, words):
    """No manifest could ever declare it, or it would declare another release."""
    bench.api.create_plugin({"name": "yolo", "code": "yolo"})
    bench.api.create_plugin_release({"plugin": 1, "version": "1.0.0"})
    with pytest.raises(InputError) as caught:
        record_all_live_objects_or_none(
            bench.context(), {Address("release", name): InventoryRow("2")}
        )
    assert words in caught.value.diagnostics[0].detail
    assert bench.store.read_state().records == {}
