"""Use case: look at a target from all sides and say everything that is wrong at once."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import PurePath

from synapse_apply.model.aim import aimed_checkup
from synapse_apply.model.checkup import Checkup, Row
from synapse_apply.model.diagnostic import error
from synapse_apply.model.errors import RemoteError, SynapseApplyError
from synapse_apply.model.frozen import frozen
from synapse_apply.session.checks import agents, kept, remote, written
from synapse_apply.session.checks.patient import Patient, Unchecked
from synapse_apply.session.where import Where


@frozen
class Check:
    """A function that yields rows, and the name that its row has where it cannot."""

    name: str
    look: Callable[[Patient], Iterator[Row]]


# In the order in which one thing needs another. The clock comes last of what is asked of the
# backend: it is told by the answers to all the rest.
SECTIONS: tuple[tuple[str, tuple[Check, ...]], ...] = (
    (
        "Project",
        (
            Check("tool", written.tool),
            Check("project", written.project),
            Check("repository", written.repository),
            Check("target", written.target),
            Check("manifests", written.manifests),
        ),
    ),
    (
        "Backend",
        (
            Check("url", remote.url),
            Check("hosts", remote.hosts),
            Check("token", remote.token),
            Check("backend", remote.backend),
            Check("tenant", remote.tenant),
            Check("api", remote.api),
            Check("capability", remote.capabilities),
            Check("agents", agents.agents),
            Check("clock", remote.clock),
        ),
    ),
    (
        "State",
        (
            Check("folder", kept.folder),
            Check("state", kept.state),
            Check("binding", kept.binding),
            Check("lineage", kept.lineage),
            Check("key", kept.key),
            Check("lock", kept.lock),
            Check("accepted", kept.accepted),
            Check("calls", kept.open_calls),
            Check("twins", kept.twins),
        ),
    ),
)


def doctor(where: Where) -> Checkup:
    """Every check, whatever becomes of the others. Nothing is changed; reads alone are sent.

    Never raises for what is wrong with the target.
    """
    with ExitStack() as stack:
        patient = Patient(where, stack)
        sections = tuple(
            (title, tuple(row for check in checks for row in _looked(check, patient)))
            for title, checks in SECTIONS
        )
        return aimed_checkup(Checkup(_name(patient), sections), where.target or "")


def _looked(check: Check, patient: Patient) -> list[Row]:
    """The rows of one check, those that came before it broke off among them."""
    rows: list[Row] = []
    try:
        for row in check.look(patient):
            rows.append(row)  # noqa: PERF402 - what came before an exception is kept
    except Unchecked as missing:
        rows.append(Row.unchecked(check.name, f"{missing}"))
    except SynapseApplyError as problem:
        rows.extend(Row.of(check.name, finding) for finding in problem.diagnostics)
    except RemoteError as failure:
        finding = error("A call to the backend failed", f"{failure}", request_id=failure.request_id)
        rows.append(Row.of(check.name, finding))
    except Exception as problem:  # noqa: BLE001 - a defect of one check must not hide the others
        rows.append(Row.of(check.name, error("This check failed", _defect(problem))))
    return rows


def _defect(problem: Exception) -> str:
    """Type and place alone: the text may hold anything."""
    frames = traceback.extract_tb(problem.__traceback__)
    place = f" at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    reason = f": {problem.strerror}" if isinstance(problem, OSError) and problem.strerror else ""
    return f"{type(problem).__qualname__}{place}{reason}. Please report it: it is our defect."


def _name(patient: Patient) -> str:
    try:
        return patient.target.needed().name
    except Unchecked:
        return ""
