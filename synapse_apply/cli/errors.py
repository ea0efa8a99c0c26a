"""How the error that ends a command is shown; its exit code is the error's. Never a traceback."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

from synapse_apply import __version__
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import Terminated, interruption_advice
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import (
    Exit,
    LockHeld,
    RemoteError,
    SynapseApplyError,
    build_remote_finding,
)

if TYPE_CHECKING:
    from synapse_apply.model.plan import Plan


def print_failure(problem: BaseException, console: Console, command: str = "") -> int:
    """Print a failure, as text or as the command's JSON document; returns the exit code."""
    plain_findings, code = build_failure_findings(problem)
    context = click.get_current_context(silent=True)
    option_names = [param.opts for param in context.command.params] if context else []
    if isinstance(problem, LockHeld) and ["--lock-timeout"] in option_names:
        plain_findings = [
            finding.with_changes(
                hint=finding.hint
                + (" With --lock-timeout SECONDS, the command waits for the lock.")
            )
            for finding in plain_findings
        ]
    findings = console.name_target(plain_findings)
    # Expected failures have no traceback, also where logs are on.
    is_expected = isinstance(problem, (SynapseApplyError, RemoteError, *_SIGNAL_STOPS))
    log_level = console.environ.get("SYNAPSE_APPLY_LOG", "").lower()
    if not is_expected and log_level in {"trace", "json"}:
        lines = traceback.format_tb(problem.__traceback__)
        console.write_stderr("".join(["Traceback (values left out):\n", *lines]))
    if console.as_json and not console.has_written_document:
        from synapse_apply.views.json.documents import failure_document

        plan = get_stopped_plan_or_none(problem)
        console.write_or_keep_document(
            failure_document(command, findings, code, tool_version=__version__, plan=plan)
        )
        return code
    from synapse_apply.views.text.findings import render_diagnostics

    console.write_stderr(render_diagnostics(findings, color=console.is_stderr_colored))
    return code


class FindingsAndExitCode(NamedTuple):
    """What a failure tells people, and what it tells programs."""

    findings: Sequence[Diagnostic]
    exit_code: int


def build_failure_findings(problem: BaseException) -> FindingsAndExitCode:
    """What is told of an exception of any class; without its text where it is unexpected."""
    if type(problem) in _SIGNAL_STOPS:
        detail, code = _SIGNAL_STOPS[type(problem)]
        hint = interruption_advice(problem) or "Run the command again."
        finding = error_finding("The command was stopped", detail, hint)
        return FindingsAndExitCode([finding], code)
    if isinstance(problem, SynapseApplyError):
        return FindingsAndExitCode(
            problem.diagnostics or (error_finding(str(problem)),), problem.exit_code
        )
    if isinstance(problem, RemoteError):
        return FindingsAndExitCode([build_remote_finding(problem)], Exit.ERROR)
    finding = _system_finding(problem) or _build_internal_finding(problem)
    return FindingsAndExitCode([finding], Exit.ERROR)


def get_stopped_plan_or_none(problem: BaseException) -> Plan | None:
    """The plan that a failure stopped, None where there was none yet."""
    return problem.plan if isinstance(problem, SynapseApplyError) else None


_SIGNAL_STOPS: dict[type[BaseException], tuple[str, int]] = {
    KeyboardInterrupt: ("The command was interrupted (SIGINT).", Exit.SIGINT),
    Terminated: ("The command was terminated (SIGTERM or SIGHUP).", Exit.SIGTERM),
}


# What a system says when it has no more of something: nobody's defect.
_RESOURCE_ERRNOS = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EROFS, errno.EIO)
)


def _system_finding(problem: BaseException) -> Diagnostic | None:
    """The finding where the machine lacks something, such as memory or disk; else None."""
    if isinstance(problem, MemoryError):
        return error_finding(
            "There is not enough memory",
            "The system does not give this process more memory.",
            "Raise the memory limit (`ulimit -v`, or the limit of the job or container).",
        )
    if not isinstance(problem, OSError):
        return None
    if isinstance(problem, (FileNotFoundError, PermissionError)) and (reason := _unusable_folder()):
        return error_finding(
            "The working folder cannot be used",
            f"{reason}.",
            "Change to an existing folder that you can read.",
        )
    if problem.errno == errno.ENAMETOOLONG:
        name = str(problem.filename or "")
        return error_finding(
            "A path or an address is too long",
            f"{name[:60]}{'...' * (len(name) > 60)} has {len(name):,} characters.",
            "Each part of a path may have at most 255 bytes. Check the name of the file or "
            "resource.",
        )
    if problem.errno in _RESOURCE_ERRNOS:
        file_prefix = f"{problem.filename}: " if isinstance(problem.filename, str) else ""
        return error_finding(
            "A system resource ran out or failed",
            f"{file_prefix}{problem.strerror}.",
            "Free space or raise the limit, then run the command again.",
        )
    return None


def _unusable_folder() -> str:
    """Why the working folder cannot be used, "" where it can."""
    try:
        working_folder = os.getcwd()  # noqa: PTH109 - it is asked for, not used
    except OSError as problem:
        return f"The folder was removed, or you cannot read its path ({problem.strerror})"
    return (
        ""
        if os.access(working_folder, os.R_OK | os.X_OK)
        else (f"You do not have permission to read {working_folder}")
    )


def _build_internal_finding(problem: BaseException) -> Diagnostic:
    """The exception's type and place, without its text and locals: these may hold a secret."""
    frames = traceback.extract_tb(problem.__traceback__)
    location = f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else "?"  # noqa: PTH119 - a text
    return error_finding(
        "internal error",
        f"{type(problem).__qualname__} at {location}, synapse-apply {__version__}. This is a "
        "bug in synapse-apply, not in your files.",
        "Please report the bug with these lines and the command that you ran. "
        "SYNAPSE_APPLY_LOG=trace shows where it happened, without values.",
    )
