"""`state mv`: an address takes the members of its series along, or nothing moves."""

from __future__ import annotations

import pytest
from sessions import OneSession
from unit.applying.bench import Bench, plugin, release
from unit.applying.scripted import lost

from synapse_apply.model.address import Address
from synapse_apply.model.errors import InputError, StateError
from synapse_apply.operations.state import TargetState

OLD, NEW = Address.parse("plugin/yolo"), Address.parse("plugin/seer")


def move(bench: Bench, old: Address = OLD, new: Address = NEW) -> dict[Address, Address]:
    return TargetState(OneSession(bench.context())).rename(str(old), new)


def test_an_open_call_of_a_member_without_a_record_keeps_all_in_place(bench):
    """Once it is looked up it would be recorded under the old name."""
    bench.api.fail("create_release", lost())
    bench.apply(plugin(), release())
    assert [str(intent.address) for intent in bench.store.read_state().open_intents] == [
        "release/yolo@1.0.0"
    ]
    with pytest.raises(StateError, match="A call is not settled yet"):
        move(bench)
    assert list(bench.store.read_state().records) == [OLD]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("plugin/yolo", "plugin/Yolo", "plugin/Yolo: a name has lower-case letters, digits"),
        ("plugin/yolo", "plugin/" + "a" * 64, "is not longer than 63"),
        ("release/yolo@1.0.0", "release/yolo", "a release's address is release/NAME@VERSION"),
        ("release/yolo@1.0.0", "release/Yolo@1.0.0", "a name has lower-case letters"),
    ],
)
def test_a_name_that_no_manifest_can_have(bench, old, new, why):
    """Nothing could ever declare it again."""
    bench.apply(plugin(), release())
    before = bench.store.read_state().records
    with pytest.raises(InputError, match="No manifest can have this address") as caught:
        move(bench, Address.parse(old), Address.parse(new))
    assert why in caught.value.diagnostics[0].detail
    assert bench.store.read_state().records == before
