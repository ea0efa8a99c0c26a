"""Commands of `controller` that ask a running one: a server stands in for it, and answers what a test says."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from answering import Answering
from at_terminal import run_at_terminal
from in_process import run_in_process
from installed import environment

TOKEN = "t0ken-0f-an-0perat0r"


def build_problem(summary: str) -> dict[str, Any]:
    """A refusal, as the controller's API has it."""
    finding = {"severity": "error", "summary": summary, "detail": "Because.", "hint": "Do so."}
    return {"apiVersion": "synapse-apply/v1", "kind": "Problem", "diagnostics": [finding]}


def ask(
    folder: Path, server: Answering, *typed: str, token: str = TOKEN
) -> subprocess.CompletedProcess[str]:
    """Run `controller TYPED`; neither stream has the token, whatever the server says."""
    variables = {
        "SYNAPSE_APPLY_CONTROLLER_URL": server.url,
        **({"SYNAPSE_APPLY_CONTROLLER_TOKEN": token} if token else {}),
    }
    done = run_in_process(["controller", *typed], folder, environment(variables))
    assert not token or token not in done.stdout + done.stderr
    return done


def ask_at_terminal(folder: Path, server: Answering, answer: str, *typed: str) -> tuple[int, str]:
    """The same at a terminal, where somebody answers; the exit code, and all that was shown."""
    environ = environment({"SYNAPSE_APPLY_CONTROLLER_TOKEN": TOKEN, "TERM": "dumb"})
    words = ("controller", *typed, "--url", server.url)
    return run_at_terminal(folder, answer.encode(), environ, *words)


def list_posts(server: Answering, action: str = "") -> list[Any]:
    """The documents by which something was asked for, all or those of an action."""
    return [
        asked.body
        for asked in server.asked
        if asked.method == "POST" and asked.path.endswith(f"/{action}" if action else "")
    ]
