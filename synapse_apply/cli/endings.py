"""How a command ends when it does not end well: a message, never a traceback, and an exit code."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from synapse_apply import __version__
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import Terminated
from synapse_apply.model.aim import aimed_findings
from synapse_apply.model.diagnostic import Diagnostic, error
from synapse_apply.model.errors import Exit, LockHeld, RemoteError, SynapseApplyError, recourse
from synapse_apply.model.frozen import frozen

if TYPE_CHECKING:
    from synapse_apply.model.plan import Plan


_PATIENCE = "--lock-timeout"
_WAITS = f"{_PATIENCE} SECONDS waits by itself."


def tell(problem: BaseException, face: Face, command: str = "") -> int:
    """Word a failure for people, or as the document of a command, and give the exit code."""
    found, code = worded(problem)
    if isinstance(problem, LockHeld) and _can_wait():
        found = [one.with_(hint=f"{one.hint} {_WAITS}") for one in found]
    findings = aimed_findings(found, face.aim)
    if not isinstance(problem, (SynapseApplyError, RemoteError, *_STOPPED)):
        _show_traceback(problem, face)
    if face.as_json and not face.has_documented:
        from synapse_apply.views.failure import failure_document

        face.document(
            failure_document(
                command, findings, code, tool_version=__version__, plan=stopped_plan(problem)
            )
        )
        return code
    from synapse_apply.views.findings import render_diagnostics

    face.err(render_diagnostics(findings, color=face.color_err))
    return code


def _can_wait() -> bool:
    """Whether the command that ends has the option to wait for the lock."""
    context = click.get_current_context(silent=True)
    options = [param.opts for param in context.command.params] if context is not None else []
    return any(_PATIENCE in names for names in options)


def worded(problem: BaseException) -> tuple[Sequence[Diagnostic], int]:
    """The findings that tell a failure, and its exit code."""
    if (stopped := _STOPPED.get(type(problem))) is not None:
        return [error("Stopped before its end", stopped.how, _AGAIN)], stopped.code
    if isinstance(problem, SynapseApplyError):
        return problem.diagnostics or (error(str(problem)),), problem.exit_code
    if isinstance(problem, RemoteError):
        return [_remote(problem)], Exit.ERROR
    return [_of_the_system(problem) or _internal(problem)], Exit.ERROR


def stopped_plan(problem: BaseException) -> Plan | None:
    """The plan that a failure stopped, where one was made."""
    return problem.plan if isinstance(problem, SynapseApplyError) else None


@frozen
class _Stopped:
    how: str
    code: int


_AGAIN = "Run the command again; what was done is not done twice."
_STOPPED: dict[type[BaseException], _Stopped] = {
    KeyboardInterrupt: _Stopped("It was interrupted (SIGINT).", Exit.SIGINT),
    Terminated: _Stopped("It was terminated (SIGTERM or SIGHUP).", Exit.SIGTERM),
}


# What a system says when it has no more of something: nobody's defect.
_RUN_OUT = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EROFS, errno.EIO)
)


def _of_the_system(problem: BaseException) -> Diagnostic | None:
    """What is said where the machine, not the tool, could not go on; None for anything else."""
    if isinstance(problem, MemoryError):
        return error(
            "There is not enough memory",
            "The system gives this process no more of it.",
            "Raise the limit of memory (`ulimit -v`, the job's or the container's).",
        )
    if not isinstance(problem, OSError):
        return None
    if isinstance(problem, (FileNotFoundError, PermissionError)) and (why := _folder_is_gone()):
        return error(
            "The working folder cannot be used",
            f"{why}.",
            "Change to a folder that is there and that you may read.",
        )
    if problem.errno in _RUN_OUT:
        at = f"{problem.filename}: " if isinstance(problem.filename, str) else ""
        return error(
            "The system could not go on",
            f"{at}{problem.strerror}.",
            "Make room, or raise the limit it speaks of, and run the command again.",
        )
    return None


def _folder_is_gone() -> str:
    """Why the working folder is none any more, "" while it is one."""
    try:
        here = os.getcwd()  # noqa: PTH109 - it is asked for, not used
    except OSError as problem:
        return f"It was removed, or its place may not be known ({problem.strerror})"
    return "" if os.access(here, os.R_OK | os.X_OK) else f"{here} may not be read"


def _remote(problem: RemoteError) -> Diagnostic:
    """Status and request id alone: an error body may echo what was sent."""
    answered = f"The backend answered {problem.status_code}." if problem.status_code else ""
    return error(
        "A call to the backend failed",
        answered or f"{problem}.".replace("..", "."),
        recourse(problem, "run the command again", "Run the command again."),
        request_id=problem.request_id,
    )


def _show_traceback(problem: BaseException, face: Face) -> None:
    if face.environ.get("SYNAPSE_APPLY_LOG", "").lower() in {"trace", "json"}:
        lines = traceback.format_tb(problem.__traceback__)
        face.err("".join(["Traceback (values left out):\n", *lines]))


def _internal(problem: BaseException) -> Diagnostic:
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
