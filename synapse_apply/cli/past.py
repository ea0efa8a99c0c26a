"""What was done, as a person reads it: a table of runs, or the calls of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from synapse_apply.cli.face import Face
from synapse_apply.model.codec import audit_to_json
from synapse_apply.model.errors import Exit
from synapse_apply.session.history import PastRun
from synapse_apply.views.grammar import short_commit
from synapse_apply.views.safety import clean, disarm
from synapse_apply.views.tables import render_table

_DIGEST = 24
_OF_THE_RUN = frozenset({"plan_id", "run", "command", "dirty"})


def list_runs(face: Face, runs: Sequence[PastRun]) -> int:
    """A row a run, the newest first."""
    if face.as_json:
        face.document({"runs": [_document(run) for run in runs]})
    elif runs:
        rows = [
            (
                *(_time(run.at), run.plan_id, run.command, _join_counts(run.counts)),
                *(run.who, short_commit(run.commit), run.run),
            )
            for run in runs
        ]
        heads = ("when", "plan", "command", "calls", "who", "commit", "run")
        face.out(render_table(heads, rows, color=face.color_out))
    else:
        face.err("Nothing was done with this state yet.\n")
    return Exit.OK


def show_run(face: Face, run: PastRun) -> int:
    """The facts of a run and a row for each of its calls, in their order."""
    if face.as_json:
        face.document(_document(run))
        return Exit.OK
    facts = {
        "plan": run.plan_id,
        "command": run.command,
        "calls": _join_counts(run.counts),
        "who": run.who,
        "run": run.run,
        "commit": run.commit,
        "not as in the commit": ", ".join(run.dirty),
    }
    told = "".join(f"{name}: {clean(fact)}\n" for name, fact in facts.items() if fact)
    face.out(disarm(told))
    rows = [
        (_time(c.at), c.address, c.verb, c.remote_id, c.request_id, c.digest[:_DIGEST], c.result)
        for c in run.calls
    ]
    heads = ("when", "address", "call", "id", "request", "digest", "result")
    face.out("\n" + render_table(heads, rows, color=face.color_out))
    return Exit.OK


def _document(run: PastRun) -> dict[str, Any]:
    calls = [
        {name: value for name, value in audit_to_json(call).items() if name not in _OF_THE_RUN}
        for call in run.calls
    ]
    return {
        "plan_id": run.plan_id,
        "at": run.at,
        "who": run.who,
        "run": run.run,
        "commit": run.commit,
        "dirty_files": list(run.dirty),
        "command": run.command,
        "counts": run.counts,
        "results": run.results,
        "calls": calls,
    }


def _join_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items())


def _time(at: str) -> str:
    return f"{at[:19]}Z"
