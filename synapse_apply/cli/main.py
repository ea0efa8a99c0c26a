"""How a command line becomes an exit code: streams, signals, errors outside of commands."""

from __future__ import annotations

import gc
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import NoReturn, TextIO

import click

from synapse_apply import __version__
from synapse_apply.cli import registry
from synapse_apply.cli.help_pages import USAGE, LazyGroup, Terminated, interruption_advice

NAME = "synapse-apply"
_ARGUMENT_VARIABLE = re.compile("SYNAPSE_APPLY_ARGS(_.*)?")
FAILED, SIGINT, SIGTERM, BROKEN_PIPE = 1, 130, 143, 141


@click.group(
    cls=LazyGroup,
    entries=registry.COMMANDS,
    first_section="Main commands",
    sections={
        "Options of most commands": registry.OPTIONS,
        "Exit codes": registry.EXITS,
        "Environment": registry.ENVIRONMENT,
    },
)
@click.version_option(
    __version__, "-V", "--version", prog_name=NAME, message="%(prog)s %(version)s"
)
def root() -> None:
    """Manage the plugins, releases and storages of a Synapse backend as YAML in Git.

    `plan` shows what would change on the live backend. `apply` makes those changes and no others.

    \b
    Start here:
      $ synapse-apply init               write a project file and a first manifest
      $ synapse-apply plan               show what apply would do
      $ synapse-apply apply              apply the plan after you confirm it

    You need no backend to try it: every command also runs on the embedded backend (`-t embedded`).
    """  # noqa: D301 - the escape is meant: it keeps the lines below it apart


def main() -> NoReturn:
    """Run the process's command line and exit with its code."""
    _prepare_streams()
    threading.excepthook = _print_thread_failure
    for number in (signal.SIGTERM, signal.SIGHUP):
        with suppress(ValueError, OSError):
            signal.signal(number, _end_by_signal)
    code = run(sys.argv[1:])
    # At its end the interpreter collects garbage once more, which takes a tenth of a large plan.
    gc.freeze()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with suppress(ValueError, OSError):  # no traceback for who stops what has ended
            signal.signal(number, signal.SIG_DFL)
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        # Else the interpreter would end with its own exit code when it fails to flush.
        _redirect_to_devnull(sys.stderr)
    sys.exit(code)


def _print_thread_failure(thread_failure: threading.ExceptHookArgs) -> None:
    """Print only the place: Python's traceback would contain the exception's text."""
    if thread_failure.exc_value is not None and not isinstance(
        thread_failure.exc_value, SystemExit
    ):
        _print_failure(thread_failure.exc_value)


def _prepare_streams() -> None:
    """Make streams accept any text, and replace a stream that is closed by one that drops it."""
    # Typed as never None, but a process may be started without them.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    sys.stdout, sys.stderr = map(_escaping, (sys.stdout, sys.stderr))


def _escaping(stream: TextIO) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    # Typed as always buffered, but PYTHONUNBUFFERED leaves the buffer out. Then nobody looks how
    # much of a text was written, and on a full disk a part of it would pass for the whole.
    raw: object = stream.buffer
    if isinstance(raw, io.RawIOBase):
        encoding = stream.encoding
        stream.detach()
        stream = io.TextIOWrapper(io.BufferedWriter(raw), encoding, line_buffering=True)
    stream.reconfigure(errors="backslashreplace")
    return stream


def run(command_line: Sequence[str]) -> int:
    """Run a command line; returns the exit code after printing any error."""
    try:
        code = _invoke_command(command_line)
        sys.stdout.flush()
    except BrokenPipeError:
        _redirect_to_devnull(sys.stdout)
        return BROKEN_PIPE
    except OSError as problem:
        if isinstance(problem, (FileNotFoundError, PermissionError)):  # writing raises neither
            return _print_failure(problem)
        _redirect_to_devnull(sys.stdout)
        with suppress(OSError):
            sys.stderr.write(f"Error: The output cannot be written\n  {problem.strerror}.\n")
        return FAILED
    except (KeyboardInterrupt, click.Abort) as interruption:
        _print_interruption("Interrupted.", interruption)
        return SIGINT
    except Terminated as interruption:
        _print_interruption("Terminated.", interruption)
        return SIGTERM
    except Exception as problem:  # noqa: BLE001 - what a command raises is worded in it
        return _print_failure(problem)
    return code


def _print_interruption(text: str, interruption: BaseException) -> None:
    advice = interruption_advice(interruption)
    with suppress(OSError):
        sys.stderr.write(f"\n{text}\n{advice}\n" if advice else f"\n{text}\n")


def _print_failure(problem: BaseException) -> int:
    """Print a failure outside of any command, such as a broken installation."""
    with suppress(OSError):
        if isinstance(problem, ImportError):
            sys.stderr.write(
                f"Error: The installation is incomplete\n  {problem.name or 'A module'} cannot "
                f"be imported ({type(problem).__name__}).\n  Hint: Reinstall {NAME}.\n"
            )
            return FAILED
        from synapse_apply.cli.errors import build_failure_findings
        from synapse_apply.views.text.findings import render_diagnostics

        findings, code = build_failure_findings(problem)
        sys.stderr.write(render_diagnostics(findings, color=False))
        return code
    return FAILED


def _invoke_command(command_line: Sequence[str]) -> int:
    if instruction := os.environ.get("_SYNAPSE_APPLY_COMPLETE"):
        from synapse_apply.cli.typed import complete_or_print_script

        return complete_or_print_script(root, instruction)
    try:
        _reject_variables(command_line)
        if os.environ.get("SYNAPSE_APPLY_LOG"):
            from synapse_apply.cli.logs import UnusableLog, configure_logging

            try:
                configure_logging(os.environ)
            except UnusableLog as problem:
                raise click.UsageError(str(problem)) from None
        with root.make_context(NAME, list(command_line)) as click_context:
            code = root.invoke(click_context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as problem:
        with suppress(OSError):
            problem.show(sys.stderr)
        return USAGE if isinstance(problem, click.UsageError) else problem.exit_code
    return code if isinstance(code, int) else 0


def _reject_variables(command_line: Sequence[str]) -> None:
    """A usage error for SYNAPSE_APPLY_ARGS*: a pipeline that sets it must not run without it."""
    is_command = bool(command_line) and not command_line[0].startswith("-")
    for name, value in os.environ.items() if is_command else ():
        if _ARGUMENT_VARIABLE.fullmatch(name) and value.strip():
            raise click.UsageError(
                f"{name} is set, but the tool no longer reads options from variables. Pass the "
                "options on the command line, or as `args` of the action."
            )


def _redirect_to_devnull(stream: TextIO) -> None:
    """Keep the interpreter from flushing the stream again at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _end_by_signal(_number: int, _frame: FrameType | None) -> NoReturn:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    raise Terminated
