"""A record and a live object are shown whole, but for their secrets."""

from unit.views.golden_files import check_golden

from synapse_apply.model.address import Address
from synapse_apply.model.resource import Observed
from synapse_apply.model.state import Record
from synapse_apply.model.values import Mac, Sensitive, WithheldSecret
from synapse_apply.views.json.documents import (
    format_redacted_json_document,
    object_document,
    record_document,
)
from synapse_apply.views.text.record import render_live_object, render_record

MAC = Mac("key-1", "deadbeef" * 8)
RECORD = Record(
    address=Address("storage", "데이터"),
    remote_id="7",
    api="v1",
    natural_key="name=데이터",
    applied={
        ("name",): "데이터",
        ("provider",): "amazon_s3",
        ("configuration", "bucket"): "raw",
        ("configuration", "secret_access_key"): MAC,
    },
    seen={("name",): "데이터"},
    salt="c2FsdA==",
    digest="pkg1:sha256:00ff",
    files={"a.py": "00", "b.py": "11"},
    protected=True,
    verification={"result": "passed", "at": "2026-11-24T12:00:00Z", "job": 4},
    depends_on=(Address("plugin", "yolo"),),
    created_at="2026-11-01T00:00:00Z",
    updated_at="2026-11-02T00:00:00Z",
)
OBSERVED = Observed(
    "7",
    "v1",
    {
        "name": "데이터",
        "configuration": {"key": Sensitive("hunter2"), "id": WithheldSecret("masked")},
    },
)


def test_a_record_is_shown_whole():
    """Fields in a block, what else is known below it."""
    check_golden("record.txt", render_record(RECORD, color=False))
    check_golden("record.json", format_redacted_json_document(record_document(RECORD)))


def test_a_live_object_is_shown_whole():
    """The object as the backend answered it."""
    check_golden("object.txt", render_live_object("storage", "데이터", OBSERVED, color=False))
    check_golden(
        "object.json", format_redacted_json_document(object_document(RECORD.address, OBSERVED))
    )


def test_no_mac_salt_or_value_is_shown():
    """Neither a digest of a secret, nor its salt, nor a value."""
    shown = render_record(RECORD, color=True) + format_redacted_json_document(
        record_document(RECORD)
    )
    shown += render_live_object("storage", "데이터", OBSERVED, color=True)
    shown += format_redacted_json_document(object_document(RECORD.address, OBSERVED))
    assert "deadbeef" not in shown
    assert RECORD.salt not in shown
    assert "hunter2" not in shown
    assert shown.count("(sensitive)") == 3
