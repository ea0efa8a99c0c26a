"""`--json-lines`: every line is a whole object that passes its schema, in the order of what happened."""

import io
import json
from pathlib import Path

import jsonschema
import pytest
from unit.views.plan_samples import PLANS
from unit.views.report_samples import REPORTS
from unit.views.test_json_documents import closed, schema
from unit.views.test_progress import play

from synapse_apply.model.address import Address
from synapse_apply.views.json.documents import format_redacted_json_line, report_document
from synapse_apply.views.json.events import (
    EventWriter,
    build_version_event,
    iter_change_events,
    iter_last_events,
    iter_summary_event,
    serialize_finding,
)
from synapse_apply.views.text.progress import OngoingCall

CLOSED = closed(schema("events"))
CLOSED["properties"]["report"] = True
VALIDATOR = jsonschema.Draft202012Validator(CLOSED)


def read_lines(text):
    """The objects of a stream, each checked against the schema."""
    assert text.endswith("\n")
    events = [json.loads(line) for line in text.splitlines()]
    for event in events:
        VALIDATOR.validate(event)
    return events


def lines_of(events):
    """The same for events that nobody has written yet."""
    return read_lines("".join(map(format_redacted_json_line, events)))


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_has_a_line_for_each_change(name):
    """What is to be done or refused has a line, what stays has none; the counts come last."""
    plan = PLANS[name]
    events = lines_of([build_version_event("1"), *iter_change_events(plan)])
    planned = [e["change"]["resource"]["addr"] for e in events if e["type"] == "planned_change"]
    assert planned == [
        str(c.address) for c in plan.changes if c.is_refused or c.action.value != "no-op"
    ]
    assert (events[0]["type"], events[-1]["type"]) == ("version", "change_summary")
    assert events[-1]["changes"]["add"] == plan.summary.add


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_ends_with_its_document(name):
    """The last line has the document of --json; a finding that was said is not said again."""
    report = REPORTS[name]
    document = report_document(report)
    first = {serialize_finding(finding) for finding in document["diagnostics"][:1]}
    events = lines_of(
        [
            *iter_summary_event(report),
            *iter_last_events(document, first),
        ]
    )
    assert events[-1]["type"] == "report"
    assert events[-1]["report"]["exit_code"] == report.exit_code
    said = [event["diagnostic"] for event in events if event["type"] == "diagnostic"]
    assert len(said) == len(
        [f for f in document["diagnostics"] if serialize_finding(f) not in first]
    )


def test_each_call_begins_and_ends_with_a_line():
    """Ids, times and results stand as data, and a name's control characters do no harm."""
    stream = io.StringIO()
    play(EventWriter(stream))
    play(events := EventWriter(stream))
    before = len(stream.getvalue())
    events.report_start(Address("plugin", "late"), "create")
    assert len(stream.getvalue()) == before  # closed
    hooks = read_lines(
        stream.getvalue().replace('"run\\u001b"', '"noop"').replace('"try"', '"noop"')
    )
    kinds = [event["type"] for event in hooks[:4]]
    assert kinds == ["apply_start", "apply_complete", "apply_start", "apply_errored"]
    assert hooks[1]["hook"]["elapsed_seconds"] == 1.2
    assert hooks[3]["hook"]["result"] == "failed"
    assert hooks[3]["@level"] == "error"


def test_what_goes_on_has_lines_with_how_far_it_is():
    """An upload's bytes and a job's percent are data of `apply_progress`."""
    stream = io.StringIO()
    events = EventWriter(stream)
    address = Address("release", "yolo@1.2.0")
    events._write_ongoing_event(
        OngoingCall(address, "create", 0.0, 0.0, {"sent_bytes": 1, "total_bytes": 9}), 10.0
    )
    events.report_end(address, "create", "done", 12.0, "7")
    progress, complete = read_lines(stream.getvalue())
    assert progress["hook"]["sent_bytes"] == 1
    assert (progress["type"], progress["hook"]["elapsed_seconds"]) == ("apply_progress", 10.0)
    assert (complete["hook"]["id_key"], complete["hook"]["id_value"]) == ("id", "7")


def test_the_schema_is_sound():
    """Its own shape is that of a schema."""
    path = Path(__file__).parents[3] / "schemas" / "v1" / "events.schema.json"
    jsonschema.Draft202012Validator.check_schema(json.loads(path.read_text(encoding="utf-8")))
