"""Which fields of single objects are secret, by manifest, by record and by open calls."""

from __future__ import annotations

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.live.named_secrets import (
    with_free_form_fields_secret_in_unmarked_kinds,
    with_secret_fields_of_single_objects,
    wrap_values_recorded_as_secret_and_warn,
)
from synapse_apply.manifests.schema.schemas import read_marks_of_storage_secrets
from synapse_apply.model.address import Address
from synapse_apply.model.resource import Desired, Lifecycle
from synapse_apply.model.state import Intent, Record
from synapse_apply.model.values import Mac, SecretRef, Sensitive, WithheldSecret

YOLO, RAW = Address("plugin", "yolo"), Address("storage", "raw")
TOKEN = ("configuration", "token")
MAC = Mac("k", "d")
PLAIN = Desired(YOLO, {"code": "yolo", "configuration": {"token": "t", "open": 1}})


def record(address: Address = YOLO, **sides: object) -> Record:
    return Record(address, "7", "v1", "code=yolo", **{"applied": {}, "seen": {}, **sides})


def open_create() -> Intent:
    return Intent("i", "p", YOLO, "create", "v1", "code=yolo", fields={TOKEN: MAC})


def shown(marks, **raw: object):
    """What the plugin with id 7 and code yolo shows of its configuration."""
    body = {"id": 7, "code": "yolo", "configuration": {"token": "t", "open": 1}, **raw}
    return CATALOGUE["plugin"].bindings["v1"].decode(body, marks).spec["configuration"]


HIDDEN = {"token": Sensitive("t"), "open": 1}


def test_a_record_with_a_digest_hides_the_field_of_its_object():
    """Applied, seen alone, and withheld where there was no state key."""
    for sides in (
        {"applied": {TOKEN: MAC}},
        {"seen": {TOKEN: MAC}},
        {"seen": {TOKEN: WithheldSecret("omitted")}},
    ):
        marks = with_secret_fields_of_single_objects(
            read_marks_of_storage_secrets(), CATALOGUE, {}, {}, {YOLO: record(**sides)}
        )
        assert shown(marks) == HIDDEN
        assert shown(marks, id=8, code="other")["token"] == "t"


def test_an_open_create_hides_it_too():
    """The object may have been made before anybody saw the answer."""
    marks = with_secret_fields_of_single_objects(
        read_marks_of_storage_secrets(), CATALOGUE, {}, {}, {}, [open_create()]
    )
    assert shown(marks) == HIDDEN
    assert shown(marks.with_address(YOLO)) == HIDDEN


def test_a_manifest_hides_it_by_its_pin_its_key_and_its_record():
    """Whatever leads to the object."""
    named = Lifecycle(sensitive=(TOKEN,))
    by_pin = Desired(YOLO, {"name": "Y"}, lifecycle=named, remote_id="7")
    by_key = Desired(YOLO, {"code": "yolo"}, lifecycle=named)
    for one, records in (
        (by_pin, {}),
        (by_key, {}),
        (Desired(YOLO, {}, lifecycle=named), {YOLO: record()}),
    ):
        marks = with_secret_fields_of_single_objects(
            read_marks_of_storage_secrets(), CATALOGUE, {}, {YOLO: one}, records
        )
        assert shown(marks) == HIDDEN


def test_nothing_is_named_where_nothing_is():
    """The marks of the schemas are given back as they are."""
    marks = read_marks_of_storage_secrets()
    assert (
        with_secret_fields_of_single_objects(marks, CATALOGUE, {}, {YOLO: PLAIN}, {YOLO: record()})
        is marks
    )


def test_plain_values_are_wrapped_where_a_secret_is_recorded():
    """Once, with a warning; beside it all stays as it is. An open call counts as a record does."""
    for records, intents in (({YOLO: record(applied={TOKEN: MAC})}, ()), ({}, (open_create(),))):
        desired, told = wrap_values_recorded_as_secret_and_warn(
            {YOLO: PLAIN}, records, read_marks_of_storage_secrets(), intents
        )
        found = desired[YOLO].spec["configuration"]
        assert found["open"] == 1
        assert found["token"] == SecretRef("literal", literal=Sensitive("t"))
        assert [one.summary for one in told] == ["A recorded secret is no longer named as one"]
        assert "'t'" not in repr(told)


def test_a_provider_that_is_described_later_takes_no_mark_off():
    """Its record keeps the secret, whatever the project file calls the key by now."""
    storage = Desired(RAW, {"provider": "p", "configuration": {"token": "t"}})
    desired, told = wrap_values_recorded_as_secret_and_warn(
        {RAW: storage}, {RAW: record(RAW, applied={TOKEN: MAC})}, read_marks_of_storage_secrets()
    )
    found = desired[RAW].spec["configuration"]["token"]
    assert found == SecretRef("literal", literal=Sensitive("t"))
    assert ["`secret: true`" in one.hint for one in told] == [True]


def test_where_nothing_is_known_every_free_form_field_is_secret():
    """And no other one."""
    marks = with_free_form_fields_secret_in_unmarked_kinds(
        read_marks_of_storage_secrets(), CATALOGUE
    )
    assert shown(marks) == {"token": Sensitive("t"), "open": Sensitive(1)}
    body = {"id": 7, "plugin": 1, "version": "1", "config": {"a": 1}}
    found = CATALOGUE["release"].bindings["v1"].decode(body, marks).spec
    assert found["config"] == {"a": Sensitive(1)}
    assert found["version"] == "1"
