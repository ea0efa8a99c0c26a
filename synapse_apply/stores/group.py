"""Group commit: the writes of many threads as few transactions, and who leads each of them.

A commit waits for the disk, and so many writes would wait in line. Who comes while a commit is
under way shares the next one with everybody else who came. Nobody's write returns before the
commit that holds it is durable, so a shared commit promises what one alone does.

Who leads holds a lock, which the interpreter gives back however the thread leaves it. Events only
make the usual way fast: who waits for one also looks, now and then, whether the lock is free. So
a leader that is interrupted at any place, even while it hands over, leaves nobody waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event, Lock

from synapse_apply.model.diagnostic import error
from synapse_apply.model.errors import StateError
from synapse_apply.stores.database import Row, Run

# Done again where its transaction is: it must do nothing but run statements.
Work = Callable[[Run], object]

# Seconds after which who waits looks whether anybody leads at all.
_PATIENCE = 0.25


class Piece:
    """One thread's part of a transaction. `ended` tells that it is durable or has failed."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.failure: BaseException | None = None
        self.ended = False
        self.turn = Event()  # it has ended, or its thread is the next to lead


class Group:
    """Writes by one transaction at a time; any number of threads."""

    def __init__(
        self,
        commit: Callable[[Work], None],
        together: Callable[[Sequence[Work], Run], bool] = lambda _works, _run: False,
    ) -> None:
        """`commit` does work in one transaction: durable when it returns, undone when it raises.

        `together` does several works at once, or tells that each must be done by itself (False);
        then it has done nothing.
        """
        self._commit = commit
        self._together = together
        self._mutex = Lock()
        self._leadership = Lock()
        self._waiting: list[Piece] = []
        # Whether somebody leads or was told to. Only a hint: that thread may be gone.
        self._leading = False
        # A transaction failed, and not for what a piece of it wanted.
        self.broken = False

    def write(self, work: Work) -> None:
        """Do one piece of work and wait until it is durable; raises what it raised."""
        piece = Piece(work)
        try:
            with self._mutex:
                self._waiting.append(piece)
                leads = not self._leading
                self._leading = True
            if not leads:
                self._wait(piece)
            if not piece.ended:
                with self._leadership:
                    if not piece.ended:
                        self._lead(piece)
        except BaseException:
            self._withdraw(piece)
            raise
        if piece.failure is not None:
            raise _own(piece.failure)

    def _wait(self, piece: Piece) -> None:
        """Until the piece has ended or its thread is to lead, which it also is where nobody does.

        Two that want to lead do no harm: the lock lets one in, and the other finds its work done.
        """
        while not piece.turn.wait(_PATIENCE):
            if not self._leadership.locked():
                return

    def _withdraw(self, piece: Piece) -> None:
        """An interrupt: the piece is not written any more, and another one may have to lead."""
        with self._mutex:
            if piece in self._waiting:
                self._waiting.remove(piece)
                if not self._leadership.locked():
                    self._pass_on()

    def _pass_on(self) -> None:
        """Let the first of those who wait lead, if there is one. The mutex is held."""
        self._leading = bool(self._waiting)
        if self._waiting:
            self._waiting[0].turn.set()

    def _lead(self, own: Piece) -> None:
        """Write what is waiting, our own piece among it, and let the next one lead."""
        with self._mutex:
            pieces, self._waiting = self._waiting, []
        try:
            if own not in pieces:
                own.failure, own.ended = _build_abandoned_error(), True
            if pieces:
                self._write(pieces)
        except BaseException as failure:
            self.broken = True
            is_usual = isinstance(failure, Exception)
            for piece in pieces:
                piece.failure = piece.failure or (failure if is_usual else _build_abandoned_error())
            if not is_usual:
                raise
        finally:
            for piece in pieces:
                piece.ended = True
                piece.turn.set()
            with self._mutex:
                self._pass_on()

    def _write(self, pieces: Sequence[Piece]) -> None:
        """What fails by itself is left out, and the rest is done again without it."""
        left = list(pieces)
        while left:
            attempt = _Attempt(left, self._together)
            try:
                self._commit(attempt)
            except Exception as failure:
                if attempt.culprit is None or failure is not attempt.culprit.failure:
                    raise
                left.remove(attempt.culprit)
            else:
                return


class _Attempt:
    """One transaction of several pieces; it may be carried out more than once."""

    def __init__(
        self, pieces: Sequence[Piece], together: Callable[[Sequence[Work], Run], bool]
    ) -> None:
        self._pieces = pieces
        self._together = together
        self.culprit: Piece | None = None

    def __call__(self, run: Run) -> None:
        self.culprit = None
        works = [piece.work for piece in self._pieces]
        if len(works) > 1 and self._together(works, run):
            return
        broken: list[BaseException] = []

        def watched(sql: str, values: Sequence[object]) -> list[Row]:
            try:
                return run(sql, values)
            except BaseException as failure:
                broken.append(failure)
                raise

        for piece in self._pieces:
            try:
                piece.work(watched)
            except Exception as failure:
                # What a statement raised is the database's: it concerns every piece alike.
                if not broken:
                    piece.failure, self.culprit = failure, piece
                raise


def _own(failure: BaseException) -> BaseException:
    """An exception that several threads raise must not be one object: it keeps tracebacks."""
    if isinstance(failure, StateError):
        return type(failure)(*failure.diagnostics)
    return failure


def _build_abandoned_error() -> StateError:
    """What is said of a write whose leader was interrupted: its transaction may be durable."""
    return StateError(
        error(
            "A write of the state was interrupted",
            "The thread that wrote it together with others was stopped before it could tell "
            "whether all of it is written.",
            "Run the command again: what is open is looked up first.",
        )
    )
