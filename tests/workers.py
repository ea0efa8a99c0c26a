"""Runs the tests that one process has collected in forks of it: `pytest --workers N`.

To import and collect all tests takes four seconds of a processor, and twelve where no bytecode is
kept yet. It is done once, not once a process. The tests of a file are given to one worker, and so
are all tests of real servers, so that each sort of server is started once. Deep ones are given to
all: they take longer than such a start.
"""

from __future__ import annotations

import atexit
import itertools
import math
import os
import pickle
import select
import signal
import socket
import struct
import threading
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest
from _pytest.tmpdir import TempPathFactory

_SIZE = struct.Struct("!I")
_IS_DEEP = os.environ.get("SYNAPSE_APPLY_TEST_DEEP") == "1"
# Few, so that all workers end together. A deep one can take minutes.
_TESTS_OF_A_CHUNK = 1 if _IS_DEEP else 4
# Files of one folder are alike: side by side, those that wait would leave the processors idle.
# Steps of this length, around a circle, spread any row of neighbours over all of it.
_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
# A test of these folders can take half a minute. When the last of them begins, tests of other
# folders are left for that time, so that all workers end together.
_FOLDERS_OF_LONG_TESTS = frozenset({"contract", "e2e", "fault", "laws"})
_PART_WITH_LONG_TESTS = 0.75
# What takes a second or two to start, as fixtures and parameters name it.
_SERVERS = frozenset({"postgres", "s3", "seaweed", "moto", "openbao", "azure", "azurite"})
Chunk = list[int]  # tests, by their place among all
File = deque[Chunk]  # the tests of a file that no worker has been given yet


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--workers", type=int, default=0, metavar="N", help="run tests in N forks of this process"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "one_process(name): tests of one name share what a process builds once"
    )
    if count := config.getoption("workers"):
        config.pluginmanager.register(_ForkedRun(count), "forked-run")


@dataclass
class _Worker:
    """A fork and what it was given. `with_servers` gets the tests of servers before all others."""

    name: str
    process: int
    door: socket.socket
    with_servers: bool
    file: File = field(default_factory=deque)
    last_chunk: Chunk = field(default_factory=list)
    waiting: deque[int] = field(default_factory=deque)
    running: int | None = None
    has_ended: bool = False


class _ForkedRun:
    """Gives out tests, and reports their results as if this process had run them."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._names = (f"gw{number}" for number in itertools.count())
        self._workers: dict[socket.socket, _Worker] = {}
        self._files = Files()
        self._files_with_servers = Files()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Run all tests; None leaves it to pytest where there is nothing to run."""
        if session.testsfailed or session.config.option.collectonly:
            return None
        for file in _sort_into_files(session.items):
            needs_server = _needs_server(session.items[file[0][0]])
            (self._files_with_servers if needs_server else self._files).add(file)
        try:
            while True:
                while len(self._workers) < self._count and self._has_chunk_for_new_worker():
                    self._start_worker(session)
                if not self._workers:
                    return True
                for door in select.select(list(self._workers), [], [])[0]:
                    self._handle_message(session, self._workers[door])
                if session.shouldfail:
                    raise session.Failed(session.shouldfail)
                if session.shouldstop:
                    raise session.Interrupted(session.shouldstop)
        finally:
            for worker in self._workers.values():
                os.kill(worker.process, signal.SIGKILL)
                os.waitpid(worker.process, 0)

    def _has_chunk_for_new_worker(self) -> bool:
        return bool(self._files or (self._files_with_servers and not self._has_servers()))

    def _has_servers(self) -> bool:
        return any(worker.with_servers for worker in self._workers.values())

    def _start_worker(self, session: pytest.Session) -> None:
        assert threading.active_count() == 1, "a fork has none of the other threads"
        name = next(self._names)
        here, there = socket.socketpair()
        process = os.fork()
        if process == 0:
            for other in (here, *self._workers):
                other.close()
            _run_as_worker(session, name, there)
        there.close()
        with_servers = not self._has_servers()
        self._workers[here] = worker = _Worker(name, process, here, with_servers)
        self._give_chunk(worker)
        # A test is torn down with the next one known, so each has one chunk more than it runs.
        self._give_chunk(worker)

    def _give_chunk(self, worker: _Worker) -> None:
        """Send the next chunk, or an empty one where there is none left."""
        files = self._files
        if worker.with_servers and self._files_with_servers:
            files = self._files_with_servers
        if not worker.file:
            worker.file = files.take_next_or_longest()
        worker.last_chunk = worker.file.popleft() if worker.file else []
        worker.waiting += worker.last_chunk
        with suppress(ConnectionError):  # it died, which is noticed where it is read from
            _send(worker.door, worker.last_chunk)

    def _handle_message(self, session: pytest.Session, worker: _Worker) -> None:
        hook = session.config.hook
        try:
            name, content = _receive(worker.door)
        except (EOFError, ConnectionError):
            self._bury(session, worker)
            return
        if name == "test":
            worker.running = worker.waiting.popleft()
            if [worker.running] == worker.last_chunk[:1]:
                self._give_chunk(worker)
        elif name == "report":
            report = hook.pytest_report_from_serializable(config=session.config, data=content)
            hook.pytest_runtest_logreport(report=report)
        else:
            worker.has_ended = True
            if content:
                _report_failure(session, f"the end of {worker.name}", content)
                session.shouldstop = session.shouldstop or f"{worker.name} ended early"

    def _bury(self, session: pytest.Session, worker: _Worker) -> None:
        """The tests of a worker that died go to the others, all but the one that it ran."""
        del self._workers[worker.door]
        worker.door.close()
        _, status = os.waitpid(worker.process, 0)
        if worker.has_ended:
            return
        if worker.running is not None:
            code = os.waitstatus_to_exitcode(status)
            text = f"The process of this test ended with code {code}."
            _report_failure(session, session.items[worker.running].nodeid, text)
        if worker.waiting:
            files = self._files_with_servers if worker.with_servers else self._files
            files.add(deque([list(worker.waiting)]))


class Files:
    """The files that are left, each for one worker: what its tests share is made once a worker.

    Once each file has a worker, those that have nothing left help with the longest.
    """

    def __init__(self) -> None:
        self._without_worker: deque[File] = deque()
        self._begun: list[File] = []

    def __bool__(self) -> bool:
        return bool(self._without_worker) or any(self._begun)

    def add(self, file: File) -> None:
        self._without_worker.append(file)

    def take_next_or_longest(self) -> File:
        """A file to take chunks from; an empty one where nothing is left."""
        if self._without_worker:
            self._begun.append(self._without_worker.popleft())
            return self._begun[-1]
        return max(self._begun, key=len, default=deque())


def _sort_into_files(items: Sequence[pytest.Item]) -> Iterator[File]:
    """The tests of a file that need a server count as another file, and are cut into chunks.

    Those that are marked for one process are one chunk, and the first: it may be a long one.
    """
    of_one_process: dict[str, Chunk] = {}
    others: Chunk = []
    for at, item in enumerate(items):
        mark = item.get_closest_marker("one_process")
        (others if mark is None else of_one_process.setdefault(mark.args[0], [])).append(at)
    yield from (deque([chunk]) for chunk in of_one_process.values())
    files: dict[tuple[Path, bool], Chunk] = {}
    for at in others:
        files.setdefault((items[at].path, _needs_server(items[at])), []).append(at)
    places = {}
    for number, (path, needs_server) in enumerate(files):
        has_long_tests = not _FOLDERS_OF_LONG_TESTS.isdisjoint(path.parts)
        part = _PART_WITH_LONG_TESTS if has_long_tests else 1.0
        places[path, needs_server] = number * _GOLDEN_RATIO % 1 * part
    for file in sorted(files, key=places.__getitem__):
        tests = files[file]
        starts = range(0, len(tests), _TESTS_OF_A_CHUNK)
        yield deque(tests[start : start + _TESTS_OF_A_CHUNK] for start in starts)


def _needs_server(item: pytest.Item) -> bool:
    if _IS_DEEP:
        return False  # any worker may start servers of its own
    names = set(getattr(item, "fixturenames", ()))
    values = getattr(item, "callspec", None)
    if values is not None:
        names.update(value for value in values.params.values() if isinstance(value, str))
    return not _SERVERS.isdisjoint(names)


def _report_failure(session: pytest.Session, name: str, text: str) -> None:
    report = pytest.TestReport(name, (name, None, name), {}, "failed", text, "call")
    session.config.hook.pytest_runtest_logreport(report=report)


def _run_as_worker(session: pytest.Session, name: str, door: socket.socket) -> NoReturn:
    """Run what comes through the socket until nothing does, then end this process."""
    os.environ["PYTEST_XDIST_WORKER"] = name  # as the workers of xdist are known
    atexit._clear()
    trouble = ""
    try:
        _make_parts_of_its_own(session.config, name, door)
        tests = _receive_tests(door)
        test = next(tests, None)
        while test is not None:
            _send(door, ("test", test))
            following = next(tests, None)
            session.config.hook.pytest_runtest_protocol(
                item=session.items[test],
                nextitem=None if following is None else session.items[following],
            )
            test = following
        session.config.hook.pytest_sessionfinish(session=session, exitstatus=0)
        session.config._ensure_unconfigure()
    except BaseException:  # noqa: BLE001 - also what ends a run early is told where it is reported
        trouble = traceback.format_exc()
    with suppress(OSError):
        _send(door, ("end", trouble))
    atexit._run_exitfuncs()
    os._exit(0)


def _make_parts_of_its_own(config: pytest.Config, name: str, door: socket.socket) -> None:
    """What forks must not share: captured output, the folder of temporary files, the terminal."""
    manager = config.pluginmanager
    capture = manager.getplugin("capturemanager")
    capture.stop_global_capturing()
    capture.start_global_capturing()
    capture.suspend_global_capture()
    manager.unregister(name="terminalreporter")
    shared = config._tmp_path_factory
    own = config._tmp_path_factory = TempPathFactory(
        shared.getbasetemp() / name,
        shared._retention_count,
        shared._retention_policy,
        shared._trace,
        _ispytest=True,
    )
    numbers = itertools.count()

    def make_folder(basename: str, numbered: bool = True) -> Path:
        """The factory's own way looks through all folders for a number that none of them has."""
        assert numbered, "another name could be taken"
        folder: Path = own.getbasetemp() / f"{basename}{next(numbers)}"
        folder.mkdir(mode=0o700)
        return folder

    own.mktemp = make_folder
    manager.register(_Reporter(config, door))


@dataclass(eq=False)
class _Reporter:
    config: pytest.Config
    door: socket.socket

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # Two of three say that a setup or a teardown passed: a quarter of what a small test takes.
        options = self.config.option
        is_counted = report.when == "call" or not report.passed or report.user_properties
        if not (is_counted or options.xmlpath or options.durations is not None):
            return
        hook = self.config.hook
        content = hook.pytest_report_to_serializable(config=self.config, report=report)
        _send(self.door, ("report", content))


def _receive_tests(door: socket.socket) -> Iterator[int]:
    while chunk := _receive(door):
        yield from chunk


def _send(door: socket.socket, message: Any) -> None:
    content = pickle.dumps(message)
    door.sendall(_SIZE.pack(len(content)) + content)


def _receive(door: socket.socket) -> Any:
    """The next message; EOFError when the other side is gone."""
    return pickle.loads(_receive_bytes(door, _SIZE.unpack(_receive_bytes(door, _SIZE.size))[0]))


def _receive_bytes(door: socket.socket, count: int) -> bytes:
    content = bytearray()
    while len(content) < count:
        piece = door.recv(count - len(content))
        if not piece:
            raise EOFError
        content += piece
    return bytes(content)
