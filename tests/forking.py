"""Starts Python commands as forks of one process that has imported them: a tenth of the time.

A command is given as to a shell: the path of an installed script, or an interpreter with `-m
MODULE` or `-c CODE`. Such a process has its own id, arguments, environment, folder and streams, it
begins with the first line of the same script, and it is a child of the tests, which kill it and
wait for it as for any other. Only the imports are done already, and what of schemas and classes is
compiled at its first use. fault/test_forked_commands.py compares the two.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import platform
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

TESTS = Path(__file__).resolve().parent
_INTERPRETER = sys.executable
_CLONE_PARENT = 0x8000  # clone(2)
_CLONE_CALLS = {"x86_64": 56, "aarch64": 220}  # syscalls(2)
_SIZE = struct.Struct("!I")
# What /proc has as the arguments of a fork stands where those of the first process stood.
_ROOM_FOR_ARGUMENTS = "-" * 400
# What a command imports only once it needs it, and is not of the package itself.
_IMPORTED_LATE = (
    *("psycopg", "sqlite3", "encodings.idna", "fault.disks", "fault.site"),
    "controllers.forked_workers",
)


# Its process waits for a fork that does what it was to do, has its exit code, and ends with it. What
# an interpreter is to do without `-I` it leaves to the real one.
_PROGRAM = """\
#!{python} -IS
import json, os, socket, sys
if {forks_isolated_only} and sys.argv[1:2] != ["-I"]:
    os.execv("{program}", ["{program}", *sys.argv[1:]])
command = ["{program}", *sys.argv[1:]]
request = dict(command=command, folder=os.getcwd(), environment=dict(os.environ), started=sys.argv[0])
text = json.dumps(request).encode()
door = socket.socket(socket.AF_UNIX)
door.connect("{address}")
socket.send_fds(door, [len(text).to_bytes(4)], [0, 1, 2])
door.sendall(text)
answer = door.recv(4)
code = int.from_bytes(answer, signed=True) if answer else 1
if code < 0:
    os.kill(os.getpid(), -code)
os._exit(code)
"""


def programs() -> Path:
    """A folder with programs for scripts: `synapse-apply`, and `python` with `-I`, are forks.

    What `-I` keeps out is out, but for what was imported before: whether a planted file is run is to
    be tested with the interpreter itself. A signal to it reaches the fork as SIGKILL. A script finds
    this `python` as `sys.executable`, so what it becomes with `-I` is a fork as well.
    """
    return _parent(sys.executable).programs


class ForkedProcess(subprocess.Popen[str]):
    """`subprocess.Popen` in all but how the process comes to be; what it is not made for raises.

    `prepared_by` names a function, as MODULE:NAME, that the process calls before its command.
    `interpreter` is another one where the command is that of another version.
    """

    prepared_by = ""
    interpreter = sys.executable

    def _execute_child(
        self,
        args: Sequence[str],
        executable: object,
        preexec_fn: object,
        close_fds: object,
        pass_fds: object,
        cwd: str | Path | None,
        env: dict[str, str] | None,
        startupinfo: object,
        creationflags: object,
        shell: object,
        *streams_and_rest: Any,
    ) -> None:
        assert not any((executable, preexec_fn, pass_fds, shell)), "not possible for a fork"
        pipes = streams_and_rest[:6]
        request = {
            "command": [str(argument) for argument in args],
            "folder": str(cwd or Path.cwd()),
            "environment": dict(os.environ if env is None else env),
            "starts_session": streams_and_rest[-2],
            "prepared_by": self.prepared_by,
        }
        stream_numbers = [
            pipe if pipe >= 0 else number
            for number, pipe in enumerate((pipes[0], pipes[3], pipes[5]))
        ]
        try:
            server = _templates[0] if _templates else _parent(self.interpreter)
            self.pid = server.fork(request, stream_numbers)
            self._child_created = True
        finally:
            self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


def run_to_end(
    command: Sequence[str | Path],
    folder: Path,
    environ: Mapping[str, str],
    process_type: type[subprocess.Popen[str]] = ForkedProcess,
    **streams: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a command without input; what it writes is returned, or goes to `streams`."""
    pipe = subprocess.PIPE
    chosen = {"stdin": subprocess.DEVNULL, "stdout": pipe, "stderr": pipe, **streams}
    with process_type(command, cwd=folder, env=environ, text=True, **chosen) as process:
        try:
            out, err = process.communicate(timeout=120)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


class _ForkServer:
    """A process that has imported everything, as the one at the other end of `door` sees it."""

    def __init__(self, door: socket.socket) -> None:
        self._socket, self._turn = door, threading.Lock()

    def fork(self, request: dict[str, Any], streams: Sequence[int]) -> int:
        """Start a command with these streams; gives the id of the process, a child of this one."""
        text = json.dumps(request).encode()
        with self._turn:
            try:
                socket.send_fds(self._socket, [_SIZE.pack(len(text))], streams)
                self._socket.sendall(text)
                return int.from_bytes(_receive(self._socket, _SIZE.size))
            except (EOFError, OSError) as problem:
                raise AssertionError(self.read_last_words()) from problem

    def read_last_words(self) -> str:
        """What the process wrote, once it has ended."""
        return "who forks has ended"


class _Parent(_ForkServer):
    """The process that has imported everything; it ends with the tests' process."""

    def __init__(self, interpreter: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="forking-")
        self.programs = Path(self._folder.name)
        address = str(Path(self._folder.name, "door"))
        door, other_end = socket.socketpair()
        super().__init__(door)
        with other_end, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen()
            for name in ("python", "synapse-apply"):
                self._write_program(name, address)
            numbers = [other_end.fileno(), listener.fileno()]
            self._process = subprocess.Popen(
                [interpreter, __file__, *map(str, numbers), _ROOM_FOR_ARGUMENTS],
                pass_fds=numbers,
                stdin=subprocess.DEVNULL,
                # As the tests have them: what a stream is, was asked when the interpreter began.
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(TESTS)},
            )

    def _write_program(self, name: str, address: str) -> None:
        text = _PROGRAM.format(
            python=sys.executable,
            program=Path(sys.executable).with_name(name),
            forks_isolated_only=name == "python",
            address=address,
        )
        file = self.programs / name
        file.write_text(text)
        file.chmod(0o755)

    def read_last_words(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.read().decode()

    def end(self) -> None:
        self._socket.close()
        self._process.communicate()
        self._folder.cleanup()


class _Template(_ForkServer):
    """A fork of this process as it is now, while it has no other thread; it ends with this process."""

    def __init__(self) -> None:
        door, other_end = socket.socketpair()
        super().__init__(door)
        if os.fork() == 0:
            door.close()
            _run(_serve(other_end))
        other_end.close()


@cache
def _parent(interpreter: str) -> _Parent:
    parent = _Parent(interpreter)
    atexit.register(parent.end)
    return parent


_templates: list[_Template] = []


def start_forks_of_this_process() -> None:
    """In a fork that has done nothing yet: what it starts as ForkedProcess are forks of itself."""
    _templates.append(_Template())


_read_real_time = time.time
_read_seconds_ahead: Callable[[], float] = float


def _read_time() -> float:
    return _read_real_time() + _read_seconds_ahead()


def put_clock_ahead(read_seconds: Callable[[], float]) -> None:
    """Have `time.time` of this process be so many seconds ahead, also where a fork has it by value."""
    global _read_seconds_ahead  # noqa: PLW0603 - what was imported has a function that looks here
    _read_seconds_ahead = read_seconds
    time.time = _read_time


def _fork_sibling() -> int:
    """As `os.fork`, but who waits for the new process is the parent of this one."""
    interpreter = ctypes.pythonapi
    interpreter.PyOS_BeforeFork()
    number = _CLONE_CALLS[platform.machine()]
    process = interpreter.syscall(number, _CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
    if process == 0:
        interpreter.PyOS_AfterFork_Child()
    else:
        interpreter.PyOS_AfterFork_Parent()
    if process < 0:
        raise OSError("clone")
    return int(process)


def _receive(door: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        piece = door.recv(size - len(content))
        if not piece:
            raise EOFError
        content += piece
    return content


def _serve(door: socket.socket, listener: socket.socket | None = None) -> list[str]:
    """Fork for each request. Returns in a new process only, with the command that it is to run."""
    while True:
        ready = select.select([door, listener] if listener else [door], [], [])[0]
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if listener and listener in ready:
            client, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                door.close()
                return _serve_client(client)
            client.close()
            continue
        first, streams, _, _ = socket.recv_fds(door, _SIZE.size, 3)
        if not first:
            os._exit(0)
        request = json.loads(_receive(door, _SIZE.unpack(first)[0]))
        process = _fork_sibling()
        if process == 0:
            if request["starts_session"]:
                os.setsid()
            door.close()
            if listener:
                listener.close()
            _become(request, streams)
            if request["prepared_by"]:
                pkgutil.resolve_name(request["prepared_by"])()
            command: list[str] = request["command"]
            return command
        # A signal to the group of a process that was just started must reach it.
        while request["starts_session"] and os.getsid(process) != process:
            time.sleep(0.001)
        door.sendall(_SIZE.pack(process))
        for number in streams:
            os.close(number)


def _serve_client(client: socket.socket) -> list[str]:
    """Fork for a program that waits. Returns in the new process only, with its command."""
    first, streams, _, _ = socket.recv_fds(client, _SIZE.size, 3)
    request = json.loads(_receive(client, _SIZE.unpack(first)[0]))
    process = os.fork()
    if process == 0:
        client.close()
        _become(request, streams)
        command: list[str] = request["command"]
        if command[1:2] == ["-I"] and not command[2].startswith("-"):
            sys.executable = request["started"]
        return command
    for stream in streams:
        os.close(stream)
    if client in select.select([os.pidfd_open(process), client], [], [])[0]:
        os.kill(process, signal.SIGKILL)  # who waits for it has ended
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    with suppress(OSError):
        client.sendall(code.to_bytes(_SIZE.size, signed=True))
    os._exit(0)


def _become(request: dict[str, Any], streams: Sequence[int]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for stream in streams:
        os.close(stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    tempfile.tempdir = None  # remembered for a process, of its environment
    _show_arguments(request["command"])


def _show_arguments(command: Sequence[str]) -> None:
    """Have /proc/PID/cmdline show these, as far as there is room."""
    words = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    start, end = int(words[45]), int(words[46])  # proc_pid_stat(5)
    shown = "\0".join(command).encode()[: end - start - 1]
    ctypes.memmove(start, shown.ljust(end - start, b"\0"), end - start)


def _run(command: list[str]) -> NoReturn:
    """As the interpreter would; each of them ends in SystemExit, or else with exit code 0."""
    program, *arguments = command
    first_folder = [""]
    if arguments[:1] == ["-I"]:
        del arguments[0]
        first_folder = []
        sys.path[:] = ["", *(folder for folder in sys.path if folder != str(TESTS))]
    if program != _INTERPRETER:
        sys.argv = command
        sys.path[0] = str(Path(program).parent)
        runpy.run_path(program, run_name="__main__")
    elif arguments[0] == "-m":
        sys.argv = arguments[1:]
        sys.path[:1] = [str(Path.cwd()) for _ in first_folder]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        sys.path[:1] = first_folder
        main = sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(arguments[1], "<string>", "exec"), vars(main))
    else:
        assert not first_folder, command
        sys.argv = arguments
        del sys.path[0]
        runpy.run_path(arguments[0], run_name="__main__")
    sys.exit(0)


def _import_everything() -> None:
    time.time = _read_time
    gc.disable()  # nothing of what is imported is garbage
    import_and_compile_all_modules()
    gc.enable()
    assert threading.active_count() == 1, "a fork has none of the other threads"
    gc.collect()
    gc.freeze()  # what nobody looks through is shared by all forks
    gc.set_threshold(20_000, 20, 50)  # as in the tests' process: a command lives for moments


def import_and_compile_all_modules() -> None:
    """What a command imports and compiles only once it needs it, so that forks have it already."""
    import synapse_apply

    for module in pkgutil.walk_packages(
        synapse_apply.__path__, "synapse_apply.", onerror=_raise_unless_of_others
    ):
        if not module.name.endswith("__main__"):
            _import_unless_packages_are_missing(module.name)
    if Path(str(synapse_apply.__file__)).parent.parent != TESTS.parent:
        return  # another version, whose names these tests do not know
    for name in _IMPORTED_LATE:
        _import_unless_packages_are_missing(name)
    if "synapse_apply.controller.page.rendering" in sys.modules:
        pkgutil.resolve_name("controllers.forked_workers:load_page_templates")()
    _compile_everything()


def _import_unless_packages_are_missing(name: str) -> None:
    """The environment with the lowest versions has not all optional packages."""
    try:
        importlib.import_module(name)
    except ImportError:
        _raise_unless_of_others(name)


def _raise_unless_of_others(name: str) -> None:
    """Raise the current error again unless it is that a package of others is missing."""
    error = sys.exception()
    missing = (error.name or name) if isinstance(error, ModuleNotFoundError) else name
    if error is not None and (missing == name or missing.startswith("synapse_apply")):
        raise error


def _compile_everything() -> None:
    """What each process compiles at its first use, and has from then on: validators, constructors."""
    from synapse_apply.kinds.catalogue import CATALOGUE
    from synapse_apply.manifests.schemas import compile_validator

    for schema_name in ("project", "package-config", *CATALOGUE):
        compile_validator(schema_name)
    for module_name, module in tuple(sys.modules.items()):
        if module_name.startswith("synapse_apply."):
            for value in tuple(vars(module).values()):
                if isinstance(value, type):
                    getattr(value, "__init__")  # noqa: B009 - to ask for it is to compile it


def _end_without_freeing_memory() -> None:
    """End with the exit code that is known, when all is done that anybody sees of an end.

    To free every object is to copy all memory that forks share: more than most commands cost.
    """
    if not _exit_codes:
        return
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return  # the interpreter says so and has an exit code for it
    os._exit(_exit_codes[0] & 0xFF)


# One, once a process ends with a number.
_exit_codes: list[int] = []

if __name__ == "__main__":
    # Of what a fork imports there is to be one alone.
    sys.modules["forking"] = sys.modules["__main__"]
    atexit.register(_end_without_freeing_memory)  # the first of all: it is called last
    _import_everything()
    try:
        _run(_serve(*(socket.socket(fileno=int(number)) for number in sys.argv[1:3])))
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            _exit_codes.append(end.code or 0)
        raise
