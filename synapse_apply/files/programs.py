"""Which executable and which environment another program is started with, and how it is ended.

A checkout may contain an executable called `git`, and our environment variables may change what a
program does, or be secrets. So PATH is searched outside of the checkout only, and a child process
gets PATH, HOME, the locale, and what its caller sets.

Those that are started here are sessions of their own: Ctrl-C in a terminal does not reach them, and
what they have started themselves is ended with them.
"""

from __future__ import annotations

import math
import os
import selectors
import signal
import subprocess
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, NamedTuple, cast

Folders = tuple[Path, ...]
# As timeout(1) has it.
TIMEOUT_EXIT_CODE = 124
# As a shell has it for a program that was killed.
STOPPED_EXIT_CODE = 137
_WATCH_SECONDS = 0.25
_READ_BYTES = 1 << 16


class ProgramResult(NamedTuple):
    """What a program gave: exit code, standard output, and standard error as text.

    Its repr shows the exit code alone, as the output may be secret.
    """

    exit_code: int
    output: bytes
    error_text: str

    @property
    def has_timed_out(self) -> bool:
        """Whether the program was killed because it took too long."""
        return self.exit_code == TIMEOUT_EXIT_CODE

    def __repr__(self) -> str:
        return f"ProgramResult({self.exit_code})"


def run_program(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    input_bytes: bytes = b"",
    timeout: float | None = None,
    max_output: int | None = None,
    find_stop_reason_or_empty: Callable[[], str] = str,
) -> ProgramResult:
    """Run a program in the root folder to its end, with `input_bytes` as standard input.

    The result `has_timed_out` if it takes longer than `timeout` seconds: it is killed then, with
    all that it has started. With `max_output` it is killed, too, as soon as it writes more bytes to
    its standard output, or `find_stop_reason_or_empty`, which is called four times a second,
    returns a text. The exit code is STOPPED_EXIT_CODE then, `error_text` the reason, and `output`
    what was written so far. Words on standard error above the limit are dropped. OSError if it
    cannot be started.
    """
    # The block ends by closing the pipes, which a timeout leaves open.
    with _start_in_own_session(command, environment, subprocess.PIPE) as process:
        try:
            if max_output is not None:
                end = math.inf if timeout is None else time.monotonic() + timeout
                return _exchange(process, input_bytes, end, max_output, find_stop_reason_or_empty)
            output, error_bytes = process.communicate(input_bytes, timeout)
        except subprocess.TimeoutExpired:
            return ProgramResult(TIMEOUT_EXIT_CODE, b"", f"no answer in {timeout:g} s")
        finally:
            _kill_session(process)
    return ProgramResult(process.returncode, output, error_bytes.decode(errors="replace"))


def _exchange(
    process: subprocess.Popen[bytes],
    input_bytes: bytes,
    end: float,
    max_output: int,
    find_stop_reason_or_empty: Callable[[], str],
) -> ProgramResult:
    """What a program gives within its limits; TimeoutExpired at `end`, by the monotonic clock."""
    stdin, stdout, stderr = (
        cast("IO[bytes]", pipe) for pipe in (process.stdin, process.stdout, process.stderr)
    )
    # Small enough for the pipe: the program need not read before it answers.
    with suppress(BrokenPipeError):
        stdin.write(input_bytes)
        stdin.close()
    texts = {stdout: bytearray(), stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for pipe in texts:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            reason = find_stop_reason_or_empty()
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(process.args, end)
            for key, _ in selector.select(_WATCH_SECONDS):
                pipe = cast("IO[bytes]", key.fileobj)
                block = os.read(key.fd, _READ_BYTES)
                if not block:
                    selector.unregister(pipe)
                texts[pipe] += block[: max_output - len(texts[pipe]) + (pipe is stdout)]
            if len(texts[stdout]) > max_output:
                reason = f"the program printed more than {max_output} bytes"
            if reason:
                return ProgramResult(STOPPED_EXIT_CODE, bytes(texts[stdout][:max_output]), reason)
    left = None if end == math.inf else max(end - time.monotonic(), _WATCH_SECONDS)
    error_text = texts[stderr].decode(errors="replace")
    return ProgramResult(process.wait(left), bytes(texts[stdout]), error_text)


# By the shell, since Python runs nothing safely between fork and exec where there are threads.
# Without SIGXFSZ a write above the limit is an error with words. A block of POSIX has 512 bytes.
_BECOME_LIMITED = (
    "trap '' XFSZ; { ulimit -c 0; ulimit -d $1; ulimit -f $2; } 2>/dev/null; shift 2; exec \"$@\""
)


def limit_command(command: Sequence[str], memory: int, file: int) -> tuple[str, ...]:
    """A command that limits the program, and each one that it starts, to so many bytes.

    `memory` is what it allocates, without files that it maps; `file` is the size of each file that
    it writes. The program must exist. A limit that the system does not know is left out.
    """
    limits = (str(memory // 1024), str(file // 512))
    return ("/bin/sh", "-c", _BECOME_LIMITED, "sh", *limits, *command)


class PipedProgram:
    """A running program that answers on its standard output to what is written to its input.

    Its standard error is discarded. Writing raises BrokenPipeError once it has ended.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """OSError if it cannot be started."""
        self._process = _start_in_own_session(command, environment, subprocess.DEVNULL)
        self.input = cast("IO[bytes]", self._process.stdin)
        self.output = cast("IO[bytes]", self._process.stdout)
        # Also where an interrupted run leaves it to the garbage collection.
        self._end_process = weakref.finalize(self, _kill_and_close_pipes, self._process)

    @property
    def process_id(self) -> int:
        """Its id, which is that of its session, too."""
        return self._process.pid

    def wait_for_exit(self) -> int:
        """Close its input and wait until it has ended; returns the exit code."""
        with suppress(BrokenPipeError):
            self.input.close()
        try:
            self.output.read()
            return self._process.wait()
        finally:
            self.kill()

    def kill(self) -> None:
        """End it at once, if it still runs, with what it has started in its session."""
        self._end_process()

    def kill_with_descendants(self) -> None:
        """End it at once, with all that it has started in any session, as far as /proc tells."""
        descendants = []
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                # So that it starts nothing more while it is looked at.
                os.killpg(self._process.pid, signal.SIGSTOP)
            descendants = _descendants(self._process.pid)
        self.kill()
        for process_id in descendants:
            with suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)


def _start_in_own_session(
    command: Sequence[str], environment: Mapping[str, str], error_stream: int
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        tuple(command),
        env=dict(environment),
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=error_stream,
        start_new_session=True,
    )


def _kill_and_close_pipes(process: subprocess.Popen[bytes]) -> None:
    _kill_session(process)
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.close()
    if process.stdout is not None:
        process.stdout.close()


def _descendants(process_id: int) -> list[int]:
    """The processes that a process has started, and those that these have; [] without /proc."""
    children: dict[int, list[int]] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            # The name, in parentheses, may hold anything; the parent is the second word behind it.
            parent = int(file.read_text(errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(file.parent.name))
    descendants, remaining = [], [process_id]
    while remaining:
        started_here = children.get(remaining.pop(), [])
        descendants += started_here
        remaining += started_here
    return descendants


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    """Kill a program, if it still runs, with all that it has started; waits for its end."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def require_executable(name: str, checkouts: Folders) -> str:
    """The absolute path of a program on PATH outside of the checkouts; FileNotFoundError.

    `checkouts` are real paths, as in the functions below.
    """
    for folder in _search_folders(os.environ.get("PATH", os.defpath), checkouts):
        path = Path(folder, name)
        # In this order: `is_file` raises in a folder that may not be searched.
        if os.access(path, os.X_OK) and path.is_file() and not is_in_checkout(path, checkouts):
            return str(path)
    raise FileNotFoundError(2, "not found in an absolute folder of PATH outside of the checkout")


def is_started_from_checkout(name: str, checkouts: Folders) -> bool:
    """Whether a library that starts a program by its name would start one of a checkout."""
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = Path(folder, name)  # an empty folder is the working directory, as for execvp
        if os.access(path, os.X_OK) and path.is_file():
            return not path.is_absolute() or is_in_checkout(path, checkouts)
    return False


# Built from nothing, in this one place, so that no variable of the parent steers Git.
def build_child_environment(checkouts: Folders, settings: Mapping[str, str]) -> dict[str, str]:
    """All variables of a child process: PATH, HOME, LC_ALL=C, and `settings`.

    A HOME inside a checkout is left out, since its configuration files may be committed ones.
    """
    home = Path(os.environ.get("HOME", ""))
    home_variable = (
        {"HOME": str(home)} if home.is_absolute() and not is_in_checkout(home, checkouts) else {}
    )
    path = _search_folders(os.environ.get("PATH", os.defpath), checkouts)
    return {"PATH": os.pathsep.join(path), **home_variable, "LC_ALL": "C", **settings}


@lru_cache(maxsize=64)
def _search_folders(path_variable: str, checkouts: Folders) -> tuple[str, ...]:
    """The absolute folders of PATH that are not inside a checkout."""
    return tuple(
        folder
        for folder in path_variable.split(os.pathsep)
        if Path(folder).is_absolute() and not is_in_checkout(Path(folder), checkouts)
    )


def is_in_checkout(path: Path, checkouts: Folders) -> bool:
    """Whether a path, or any folder above it, resolves to one inside a checkout."""
    steps = [Path(os.path.realpath(step)) for step in (path, *path.parents)]
    return any(step.is_relative_to(checkout) for step in steps for checkout in checkouts)
