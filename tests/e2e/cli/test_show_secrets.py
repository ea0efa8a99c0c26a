"""`show` says whether a secret is the same on all sides, and never what it is."""

from __future__ import annotations

import json

from .conftest import SECRETS, Run


def test_a_secret_that_was_changed_here_is_told(cli: Run) -> None:
    """Same after an apply, different once the variable holds another value."""
    assert cli("apply", "--auto-approve").returncode == 0
    assert cli("show", "storage/raw").stdout.count("(sensitive, same)") == 4
    done = cli("show", "storage/raw", RAW_KEY="canary-key-other")
    (row,) = [line for line in done.stdout.splitlines() if "secret_access_key" in line]
    assert row.split("  ")[-1] == "(sensitive, different)"
    document = json.loads(cli("show", "storage/raw", "--json", RAW_KEY=None).stdout)
    assert document["secrets"] == [
        {"path": "/configuration/access_key_id", "recorded": "same", "live": "same"},
        {"path": "/configuration/secret_access_key", "recorded": "not checked",
         "live": "not checked"},
    ]  # fmt: skip
    for text in (done.stdout, json.dumps(document)):
        assert not any(value in text for value in (*SECRETS.values(), "canary-key-other"))
