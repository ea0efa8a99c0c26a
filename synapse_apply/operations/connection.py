"""What every method of the library does first: check its arguments, and open a session.

How the methods of one target share a session, and which errors they raise. Which values arguments
may have: all else is an InputError before any work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from synapse_apply.files.commit_memory import pin_refs
from synapse_apply.model import errors
from synapse_apply.model.address import Address
from synapse_apply.workspace.invocation import Invocation

if TYPE_CHECKING:
    from synapse_apply.live.live_backend import LiveBackend
    from synapse_apply.workspace.target_session import TargetSession


class TargetConnection:
    """The session of a target, opened at its first use and again after `disconnect`."""

    def __init__(self, invocation: Invocation) -> None:
        """Reads and connects nothing yet."""
        self.invocation = invocation
        self._closing = ExitStack()
        self._session: TargetSession | None = None
        self._live_backend: LiveBackend | None = None
        self._is_read_only = False
        self._is_closed = False
        self._commits: dict[tuple[Path, str], str] = {}

    def close(self) -> None:
        """Close the session where there is one; none is opened any more."""
        self._is_closed = True
        self.disconnect()

    def require_open(self) -> None:
        """InputError after `close`."""
        if self._is_closed:
            raise errors.InputError.from_summary(
                "This target is closed",
                "close() was called, or its `with` block has ended.",
                "Open it again with open_target().",
            )

    def disconnect(self) -> None:
        """Close the sessions where there are any; the next use opens another."""
        self._session, self._live_backend = None, None
        self._closing.close()

    @contextmanager
    def ready(self, *, read_only: bool = False) -> Iterator[TargetSession]:
        """A session that is ready for a plan. `read_only`: no state is created."""
        with self.guarded():
            # A read-only session created no state; a method that writes needs one.
            if self._session is not None and self._is_read_only and not read_only:
                self.disconnect()
            if self._session is None:
                from synapse_apply.workspace.target_session import open_context

                new_session = open_context(self.invocation, read_only=read_only)
                self._session = self._closing.enter_context(new_session)
                self._is_read_only = read_only
            yield self._session

    @contextmanager
    def live(self) -> Iterator[LiveBackend]:
        """The backend for reading and calling by hand: no manifests, and a state only if there is.

        The state is read again by each use.
        """
        with self.guarded():
            if self._live_backend is None:
                from synapse_apply.live.live_backend import open_live_backend

                self._live_backend = self._closing.enter_context(open_live_backend(self.invocation))
            self._live_backend.reread_state_at_next_use()
            yield self._live_backend

    @contextmanager
    def session_with_other_key(self) -> Iterator[TargetSession]:
        """A session of its own for a state whose key is about to change; the shared one is closed.

        It takes another key than that of the state, which a session for a plan refuses.
        """
        from synapse_apply.workspace.target_session import open_context

        # The shared session would go on with the former key.
        self.disconnect()
        with self.guarded(), open_context(self.invocation, accept_other_key=True) as session:
            yield session

    def chosen_name(self) -> str:
        """The name of the target that is meant; InputError where the project has none."""
        from synapse_apply.workspace.target_session import TargetSession

        with self.guarded():
            return (self._session or TargetSession(self.invocation)).target.name

    @contextmanager
    def state_alone(self, *, read_only: bool = False) -> Iterator[TargetSession]:
        """A session for the state alone: no manifests, no backend, no lock awaited."""
        from synapse_apply.workspace.target_session import open_state

        with self.guarded(), open_state(self.invocation, read_only=read_only) as session:
            yield session

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """A context in which a Git ref stays one commit, and a failed call raises BackendError.

        Every method that reads or writes is inside of it: InputError after `close`.
        """
        self.require_open()
        try:
            with pin_refs(self._commits):
                yield
        except errors.RemoteError as failure:
            finding = errors.build_remote_finding(failure)
            if isinstance(failure, errors.TooLarge):
                finding = finding.with_changes(target=self.chosen_name())
            raise errors.BackendError(finding) from failure


class PartOfTarget:
    """What scripts and commands do with one part of a target; `OpenTarget` has each of them."""

    def __init__(self, connection: TargetConnection) -> None:
        self._connection = connection

    def _path(self, argument: str, path: Path | str) -> Path:
        """The path of an argument, relative to the folder of the target; InputError."""
        return require_path(argument, path, self._connection.invocation.directory)


_Item = TypeVar("_Item")


def require_names(argument: str, names: Iterable[str]) -> tuple[str, ...]:
    """The names as a tuple; InputError for a single string, which is a sequence of its letters."""
    return _require_items(argument, names, str, "names")


def require_text(argument: str, text: object) -> str:
    """The text; InputError for another type."""
    if not isinstance(text, str):
        raise errors.InputError.from_summary(
            f"{argument} must be a string", f"You passed {_describe_for_error(text)}."
        )
    return text


def require_address(argument: str, address: object) -> Address:
    """The address, or that of a text `kind/name`; InputError for anything else."""
    try:
        if isinstance(address, str):
            return Address.parse(address)
        if isinstance(address, Address) and all(isinstance(part, str) for part in address):
            return address
    except ValueError:
        pass
    raise errors.InputError.from_summary(
        f"{argument} must be an address",
        f"Pass a str KIND/NAME or an Address, not {_describe_for_error(address)}.",
    )


def require_count(argument: str, number: object) -> int:
    """The number; InputError for one below 1 and for another type."""
    if not isinstance(number, bool) and isinstance(number, int) and number >= 1:
        return number
    raise _no_number(argument, "a whole number from 1", number)


def require_seconds(argument: str, seconds: object, *, from_zero: bool = False) -> float:
    """The number, above 0 or `from_zero`; InputError for a smaller one and for another type."""
    number = seconds if isinstance(seconds, (int, float)) else -1.0
    if not isinstance(seconds, bool) and (number > 0 or (from_zero and number == 0)):
        return number
    what = "a number of seconds from 0" if from_zero else "a number of seconds above 0"
    raise _no_number(argument, what, seconds)


def _no_number(argument: str, what: str, value: object) -> errors.InputError:
    return errors.InputError.from_summary(
        f"{argument} must be {what}", f"You passed {_describe_for_error(value)}."
    )


def require_paths(argument: str, paths: Iterable[Path | str], directory: Path) -> tuple[Path, ...]:
    """Each path below a directory; InputError for a single path, as for one that is no path."""
    listed_paths = _require_items(argument, paths, (str, Path), "paths")
    return tuple(require_path(argument, path, directory) for path in listed_paths)


def require_path(argument: str, path: Path | str, directory: Path) -> Path:
    """A path relative to a directory; InputError for what cannot be the path of a file."""
    if not isinstance(path, (str, Path)):
        raise errors.InputError.from_summary(
            f"{argument} must be a path", f"Pass a str or a Path, not {_describe_for_error(path)}."
        )
    if "\0" in str(path):
        raise errors.InputError.from_summary(
            f"{argument} must be a path", f"A path cannot contain a NUL character: {str(path)!r}."
        )
    return directory / path


def _require_items(
    argument: str,
    values: Iterable[_Item],
    item_type: type[_Item] | tuple[type[Any], ...],
    plural: str,
) -> tuple[_Item, ...]:
    """The values as a tuple; InputError for a single one, and for items of another type."""
    summary, hint = f"{argument} must be a list of {plural}", f"Write {argument}=[...]."
    if isinstance(values, (str, bytes, Path)):
        # Iterated over, a string is its letters, each of which may be the name of a resource.
        raise errors.InputError.from_summary(
            summary,
            f"You passed {_describe_for_error(values)}.",
            f"Write {argument}=[{str(values)!r}].",
        )
    if not isinstance(values, Iterable):
        raise errors.InputError.from_summary(
            summary, f"You passed {_describe_for_error(values)}.", hint
        )
    items = tuple(values)
    for item in items:
        if not isinstance(item, item_type):
            raise errors.InputError.from_summary(
                summary, f"One item is {_describe_for_error(item)}.", hint
            )
    return items


def _describe_for_error(value: object) -> str:
    """A value for an error message: a text or a number as it is, else its type alone."""
    if value is None or isinstance(value, (str, bytes, int, float)):
        return f"the {type(value).__name__} {value!r}" if value is not None else "None"
    return f"a value of type {type(value).__name__}"
