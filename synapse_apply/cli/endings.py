"""How a command ends when it does not end well: a message, never a traceback, and an exit code."""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence

from synapse_apply import __version__
from synapse_apply.cli.face import Face
from synapse_apply.model.aim import aimed_findings
from synapse_apply.model.diagnostic import Diagnostic, error
from synapse_apply.model.errors import Exit, RemoteError, SynapseApplyError, recourse


def tell(problem: Exception, face: Face) -> int:
    """Word a failure for people, or as a document, and give the exit code."""
    found, code = worded(problem)
    findings = aimed_findings(found, face.aim)
    if not isinstance(problem, SynapseApplyError | RemoteError):
        _show_traceback(problem, face)
    if face.as_json:
        from synapse_apply.views.json import diagnostics_document

        document = diagnostics_document(findings, tool_version=__version__)
        face.document({**document, "exit_code": code})
        return code
    from synapse_apply.views.findings import render_diagnostics

    face.err(render_diagnostics(findings, color=face.color_err))
    return code


def worded(problem: Exception) -> tuple[Sequence[Diagnostic], int]:
    """The findings that tell a failure, and its exit code."""
    if isinstance(problem, SynapseApplyError):
        return problem.diagnostics or (error(str(problem)),), problem.exit_code
    if isinstance(problem, RemoteError):
        return [_remote(problem)], Exit.ERROR
    return [_internal(problem)], Exit.ERROR


def _remote(problem: RemoteError) -> Diagnostic:
    """Status and request id alone: an error body may echo what was sent."""
    answered = f"The backend answered {problem.status_code}." if problem.status_code else ""
    return error(
        "A call to the backend failed",
        answered or f"{problem}.".replace("..", "."),
        recourse(problem, "run the command again", "Run the command again."),
        request_id=problem.request_id,
    )


def _show_traceback(problem: Exception, face: Face) -> None:
    if face.environ.get("SYNAPSE_APPLY_LOG", "").lower() in {"trace", "json"}:
        lines = traceback.format_tb(problem.__traceback__)
        face.err("".join(["Traceback (values left out):\n", *lines]))


def _internal(problem: Exception) -> Diagnostic:
    """The type and the place, but no message and no locals: those may hold a secret."""
    frames = traceback.extract_tb(problem.__traceback__)
    place = f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else "?"  # noqa: PTH119 - a text
    return error(
        "internal error",
        f"{type(problem).__qualname__} at {place}, synapse-apply {__version__}. "
        "This is a defect of synapse-apply, not of what you wrote.",
        "Please report it with these lines and the command you ran; "
        "SYNAPSE_APPLY_LOG=trace shows where it happened (no values).",
    )
