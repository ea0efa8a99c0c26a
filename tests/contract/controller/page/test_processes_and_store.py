"""What the page says of the processes that share its store, and of a store that is away."""

from __future__ import annotations

import json
from typing import NoReturn

import pytest
from installed import ROOT
from jsonschema import Draft202012Validator

from synapse_apply.controller.rows import ProcessRole, ProcessRow
from synapse_apply.controller.store.store_database import StoreUnavailable

SCHEMA = json.loads((ROOT / "schemas/v1/controller-api.schema.json").read_text("utf-8"))


def test_processes_are_counted_and_what_differs_is_said(page):
    """Nothing where one process has its store alone."""
    assert "leads" not in page.get("/").text
    assert page.get("/api/v1/targets").json()["processes"] == []
    leader = ProcessRow("a:1:x", "a", 1, ProcessRole.REPLICA, "1.0", "d1", 4, 0.0, 50.0)
    other = ProcessRow("b<:2:x", "b<", 2, ProcessRole.WORKER, "1.0", "d2", 4, 0.0, 50.0)
    with page.store.write() as writer:
        assert writer.take_lease("leader", "a:1:x", 60.0, 50.0) == 1
        for row in (leader, other):
            writer.put(row)
    html = page.get("/").text
    assert "1 replica and 1 worker; a (process 1) leads." in html
    assert "b&lt; (process 2) has a different controller.yaml from the leader." in html
    document = page.get("/api/v1/targets").json()
    Draft202012Validator(SCHEMA).validate(document)
    assert [item["is_leading"] for item in document["processes"]] == [True, False]


@pytest.mark.parametrize("accepted", ["text/html", "*/*"])
@pytest.mark.parametrize("path", ["/", "/api/v1/targets", "/audit"])
def test_a_store_that_is_away_is_said_so(page, monkeypatch, path, accepted):
    """A page, lines or a Problem: come back later; where the database is stands in the log."""

    def raise_unavailable(*_: object, **__: object) -> NoReturn:
        raise StoreUnavailable.from_summary("The database does not answer", "db.internal: away.")

    for name in (
        "list_configured_sources",
        "audit_rows",
        "list_configuration_findings",
        "list_processes",
    ):
        monkeypatch.setattr(page.store, name, raise_unavailable)
    answer = page.get(path, Accept=accepted)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert "The database does not answer" in answer.text
    assert "db.internal" not in answer.text
    assert page.get("/healthz").status_code == 200
    assert "the store does not answer" in page.get("/readyz").text
