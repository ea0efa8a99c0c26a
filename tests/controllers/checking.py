"""What `controller check` says of a configuration."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from in_process import run_in_process
from installed import environment


class Finding(NamedTuple):
    """Where it has no place, the line is 0."""

    summary: str
    line: int
    is_error: bool
    detail: str
    hint: str
    path: tuple[str, ...]


def check(text: str) -> list[Finding]:
    """What `controller check` says of a file."""
    with TemporaryDirectory() as folder:
        Path(folder, "controller.yaml").write_text(text, encoding="utf-8")
        done = run_in_process(["controller", "check", "--json"], Path(folder), environment({}))
    findings = [
        Finding(
            one["summary"],
            one.get("range", {}).get("start", {}).get("line", 0),
            one["severity"] == "error",
            one["detail"],
            one["hint"],
            tuple(one.get("path", "").split("/")[1:]),
        )
        for one in json.loads(done.stdout)["diagnostics"]
    ]
    assert done.returncode == any(finding.is_error for finding in findings)
    return findings
