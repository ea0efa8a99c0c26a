"""TRACEPARENT: a run is part of the trace that its pipeline began."""

from __future__ import annotations

import http.server
import json
from pathlib import Path

import pytest
from echoing import echoing

from .conftest import Run

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_requests_have_it(cli: Run, project: Path) -> None:
    """Each request to the backend, and no other header of it."""
    seen: list[str | None] = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["traceparent"])
            self.send_error(403)

        def log_message(self, *_: object) -> None:
            pass

    with echoing(Answer, "") as url:
        target = {"url": url, "token": {"env": "PROD_TOKEN"}}
        document = {
            "apiVersion": "synapse-apply/v1",
            "kind": "Project",
            "targets": {"prod": target},
        }
        (project / "synapse-apply.yaml").write_text(json.dumps(document))
        given = {"PROD_TOKEN": "token-of-prod", "TRACEPARENT": TRACE}
        cli("doctor", "-t", "prod", **given)
        assert set(seen) == {TRACE}
        seen.clear()
        cli("doctor", "-t", "prod", **{**given, "TRACEPARENT": f"{TRACE}\r\nX-User: somebody"})
        assert set(seen) == {None}


def test_history_and_logs_have_it(forked_cli: Run) -> None:
    """The audit of each call, `state history`, and each line of a log in JSON."""
    done = forked_cli("apply", "--auto-approve", TRACEPARENT=TRACE, SYNAPSE_APPLY_LOG="json")
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert lines
    assert {line["traceparent"] for line in lines} == {TRACE}
    (run,) = json.loads(forked_cli("state", "history", "--json").stdout)["runs"]
    assert run["traceparent"] == TRACE
    assert f"trace: {TRACE}\n" in forked_cli("state", "history", "show", run["plan_id"]).stdout


@pytest.mark.parametrize(
    "text", ["", TRACE.upper(), f"ff{TRACE[2:]}", TRACE.replace("b7ad6b7169203331", "0" * 16)]
)
def test_what_is_no_trace_is_left_out(forked_cli: Run, text: str) -> None:
    """As if it were not set."""
    assert forked_cli("apply", "--auto-approve", TRACEPARENT=text).returncode == 0
    (run,) = json.loads(forked_cli("state", "history", "--json").stdout)["runs"]
    assert "traceparent" not in run
