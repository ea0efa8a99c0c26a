"""The client that cannot act: every mutation is a dry run, and must be said to be one."""

from __future__ import annotations

import io
from typing import Any

import pytest
from unit.client.scripted import answer
from unit.client.test_v2_operations import NEW, enveloped

from synapse_apply.client.operations import says_dry_run
from synapse_apply.model.errors import Effect, Invalid, Unconfirmed


@pytest.mark.parametrize("body", [enveloped({"id": 5}), {"id": 5}, enveloped([1]), b"", b"<html>"])
def test_an_answer_that_does_not_say_so(server, client, body):
    """It may have been done: the effect is unknown, though the status is a success."""
    server.then(answer(201, body))
    with pytest.raises(Unconfirmed, match="does not say that it was a dry run") as caught:
        client.dry_run.v2.create_plugin(NEW)
    assert isinstance(caught.value, Unconfirmed)
    assert (caught.value.effect, caught.value.status_code) == (Effect.UNKNOWN, 201)
    assert len(server.received) == 1


def test_mutations_of_v1_are_never_sent(server, client):
    """It has no dry run; its reads are sent."""
    trying = client.dry_run
    for call in (
        lambda: trying.create_plugin({"name": "x"}),
        lambda: trying.update_plugin(1, {"name": "x"}),
        lambda: trying.create_plugin_release({"version": "1"}, file=io.BytesIO(b"PK")),
        lambda: trying.create_storage({"name": "x"}),
        lambda: trying.run_plugin(1, {}),
        lambda: trying.update_job(1, {}),
    ):
        with pytest.raises(Invalid, match="API v1 has no dry run"):
            call()
    assert server.received == []
    server.then(answer(200, {"id": 1}))
    assert trying.get_plugin(1) == {"id": 1}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"data": {"dry_run": True, "action": "stop", "target": "x"}, "meta": {}}, True),
        ({"data": {}, "meta": {"dry_run": True}}, True),
        ({"dry_run": True}, True),
        ({"data": {}, "meta": {"dry_run": "true"}}, False),
        ({"data": {"config": {"dry_run": True}}, "meta": {"dry_run": False}}, False),
        ({"data": {"meta": {"dry_run": True}}, "meta": {}}, False),
        ([{"dry_run": True}], False),
        (None, False),
    ],
)
def test_where_it_is_said(said: Any, expected: bool):
    """In the envelope's meta or in the answer itself, as a boolean."""
    assert says_dry_run(said) is expected
