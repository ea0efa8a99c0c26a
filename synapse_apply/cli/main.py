"""The entry point: one command line in, one exit code out."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import NoReturn, TextIO

import click

from synapse_apply import __version__
from synapse_apply.cli import table
from synapse_apply.cli.arguments import BadQuoting, with_environment
from synapse_apply.cli.manual import USAGE, LazyGroup, Terminated

NAME = "synapse-apply"
FAILED, SIGINT, SIGTERM, BROKEN_PIPE = 1, 130, 143, 141


@click.group(
    cls=LazyGroup,
    entries=table.COMMANDS,
    sections={"Exit codes": table.EXITS, "Environment": table.ENVIRONMENT},
)
@click.version_option(
    __version__, "-V", "--version", prog_name=NAME, message="%(prog)s %(version)s"
)
def root() -> None:
    """Keep the plugins, releases and storages of a Synapse backend as YAML in Git.

    `plan` shows what would change on the live backend; `apply` makes it so, and nothing else.

    \b
    Start here:
      $ synapse-apply init               write a project file and a first manifest
      $ synapse-apply plan               see what would be done
      $ synapse-apply apply              do it, after you said yes

    Without a backend of your own, all of it runs on the embedded one (`-t embedded`).
    """  # noqa: D301 - the escape is meant: it keeps the lines below it apart


def main() -> NoReturn:
    """Run what was typed; the process ends with its exit code."""
    _open_streams()
    for number in (signal.SIGTERM, signal.SIGHUP):
        with suppress(ValueError, OSError):
            signal.signal(number, _terminate)
    # A run makes many small values that all stay: looking through them again and again for
    # circles took a fifth of a large plan.
    gc.set_threshold(100_000, 50, 100)
    code = run(sys.argv[1:])
    # At its end the interpreter looks for circles once more, which takes a tenth of a large plan.
    gc.freeze()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with suppress(ValueError, OSError):  # no traceback for who stops what has ended
            signal.signal(number, signal.SIG_DFL)
    sys.exit(code)


def _open_streams() -> None:
    """Any text can be written, and a stream that was closed at the start takes all of it."""
    # Typed as never None, but a process may be started without them.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    sys.stdout, sys.stderr = map(_taking_all, (sys.stdout, sys.stderr))


def _taking_all(stream: TextIO) -> TextIO:
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


def run(typed: Sequence[str]) -> int:
    """Run a command line and give the exit code; messages are on stderr by then."""
    try:
        code = _run(typed)
        sys.stdout.flush()
    except BrokenPipeError:
        _give_up_stdout()
        return BROKEN_PIPE
    except OSError as problem:
        _give_up_stdout()
        with suppress(OSError):
            sys.stderr.write(f"Error: The output cannot be written\n  {problem.strerror}.\n")
        return FAILED
    except (KeyboardInterrupt, click.Abort):
        with suppress(OSError):
            sys.stderr.write("\nInterrupted.\n")
        return SIGINT
    except Terminated:
        with suppress(OSError):
            sys.stderr.write("\nTerminated.\n")
        return SIGTERM
    return code


def _run(typed: Sequence[str]) -> int:
    if instruction := os.environ.get("_SYNAPSE_APPLY_COMPLETE"):
        from synapse_apply.cli.completing import answer

        return answer(root, instruction)
    try:
        arguments = with_environment(typed, os.environ, table.GROUPS)
        if os.environ.get("SYNAPSE_APPLY_LOG"):
            _open_log()
        with root.make_context(NAME, arguments) as context:
            code = root.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.UsageError as problem:
        problem.show(sys.stderr)
        return USAGE
    except click.ClickException as problem:
        problem.show(sys.stderr)
        return problem.exit_code
    except BadQuoting as problem:
        sys.stderr.write(f"Error: {problem}\n")
        return USAGE
    return code if isinstance(code, int) else 0


def _give_up_stdout() -> None:
    """The interpreter must not try to flush again at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_log() -> None:
    from synapse_apply.cli.logs import UnusableLog, open_log

    try:
        open_log(os.environ)
    except UnusableLog as problem:
        raise click.UsageError(str(problem)) from None


def _terminate(_number: int, _frame: FrameType | None) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    raise Terminated
