"""Log lines: one an event, whatever the values are."""

import io
import json

from hypothesis import given
from hypothesis import strategies as st

from synapse_apply.controller.loop.parts import EventLog


def test_a_line_names_its_values():
    """Words as they are, others quoted; what is empty is left out."""
    stream = io.StringIO()
    log = EventLog(stream)
    log.write_line(
        "warn", "look", 0.0, target="acme/prod", summary="There is no state", cause="", at=None
    )
    log.write_line("info", "look", 1.5, seconds=1.23456, changes=0)
    assert stream.getvalue() == (
        '1970-01-01T00:00:00.000Z warn look target=acme/prod summary="There is no state"\n'
        "1970-01-01T00:00:01.500Z info look seconds=1.235 changes=0\n"
    )


@given(st.text())
def test_no_value_begins_another_line(value):
    """Neither as text nor as JSON, from which it can be read back."""
    for as_json in (True, False):
        stream = io.StringIO()
        EventLog(stream, as_json=as_json).write_line("info", "look", 0.0, summary=value)
        (line,) = stream.getvalue().splitlines()
        if as_json and value:
            assert json.loads(line)["summary"] == value


def test_a_stream_that_is_gone_is_no_error():
    """The controller goes on without its log."""
    stream = io.StringIO()
    stream.close()
    EventLog(stream).write_line("info", "look", 0.0)
