"""`show` of a resource that the backend does not tell of: exit 1 and why, never "not live"."""

from __future__ import annotations

import pytest
from e2e.scenarios.workplace import Workplace, project

FAILED = "Reading the live state failed"


def is_told(place: Workplace, address: str) -> None:
    """In both faces."""
    ran = place.run("show", address, code=1)
    assert f"Error: {FAILED}" in ran.err
    assert "live object not read)" in ran.out.splitlines()[0]
    document = place.run("show", address, "--json", code=1).document
    assert document["live"] is None
    assert FAILED in [finding["summary"] for finding in document["diagnostics"]]


@pytest.mark.parametrize("address", ["storage/raw-data", "plugin/yolo", "release/yolo@1.0.0"])
def test_a_backend_that_refuses_the_token(applied, address):
    """401 to everything; also of what no manifest declares any more."""
    applied.environ["PROD_TOKEN"] = "wrong-token-of-tests"
    is_told(applied, address)
    for file in (applied.root / "manifests").glob("*.yaml"):
        file.unlink()
    is_told(applied, address)


def test_a_backend_that_is_not_there(applied):
    """Nobody answers."""
    applied.write("synapse-apply.yaml", project("http://127.0.0.1:9"))
    applied.run("state", "rebind", "--auto-approve", code=0)
    is_told(applied, "storage/raw-data")
