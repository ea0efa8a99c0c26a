"""The embedded backend as a target: started for a run, or the one that is served already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from synapse_apply.files.opening import (
    FOLDER,
    LOOK_FIRST,
    NOT_OURS,
    check_folder,
    make_folder,
)
from synapse_apply.model.diagnostic import error
from synapse_apply.model.errors import LockHeld, StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.values import Sensitive
from synapse_apply.session.own_folder import check_own_folder, reading

if TYPE_CHECKING:
    from synapse_apply.emulator.core.place import DataSetPlaceError
    from synapse_apply.emulator.data_set import RunningServer


@frozen
class Embedded:
    """A running embedded backend and a token that it takes.

    `fresh` when nothing was ever made in its data set.
    """

    url: str
    data_set: str
    fresh: bool
    token: Sensitive


def data_folder(root: Path) -> Path:
    """Where the embedded backend of a project keeps its data."""
    return root / FOLDER / "embedded"


def trusted_data_folder(root: Path) -> Path:
    """The same, to be opened; StateError where it, or one of its files, is not ours."""
    from synapse_apply.emulator.core import place

    data = data_folder(root)
    with reading(data):
        if check_own_folder(root) and check_folder(data):
            try:
                place.check(data)
            except place.DataSetPlaceError as failure:
                raise _build_untrusted_error(failure) from None
    return data


def data_set_of(root: Path) -> str:
    """The UUID of the data set of a project, served or not; "" where it has none. StateError."""
    from synapse_apply.emulator.data_set import recorded_data_set

    data = trusted_data_folder(root)
    served = _find_server(data)
    return served.data_set if served is not None else recorded_data_set(data)


@contextmanager
def running(root: Path, *, looking: bool = False, profile: str = "") -> Iterator[Embedded]:
    """The embedded backend of a project; StateError when its data cannot be used.

    `profile` is that of a data set that is started here, which keeps it; else it has its own.

    With `looking` nothing is left behind: where there is no data yet, it serves a data set as new
    ones are, in a folder that goes with it. One without a state would look like a state lost.
    """
    from synapse_apply.emulator.core.place import DATABASE
    from synapse_apply.emulator.data_set import is_untouched

    data = trusted_data_folder(root)
    served = _find_server(data)
    if served is not None:
        token = Sensitive(served.token)
        yield Embedded(served.url, served.data_set, fresh=is_untouched(data), token=token)
        return
    missing = not (data / DATABASE).exists()
    if looking and missing:
        with TemporaryDirectory(prefix="synapse-apply-") as folder, _started(Path(folder)) as new:
            yield new
        return
    _make_folder(data.parent)
    with _started(data, fresh=missing or is_untouched(data), profile=profile) as started:
        yield started


def _find_server(data: Path) -> RunningServer | None:
    from synapse_apply.emulator.core.place import DataSetPlaceError
    from synapse_apply.emulator.data_set import EndpointError, find_running

    try:
        return find_running(data)
    except DataSetPlaceError as failure:
        raise _build_untrusted_error(failure) from None
    except EndpointError as failure:
        raise StateError.of(
            "The embedded backend that is served here is not used",
            f"{failure.why}. A token is sent only to a server of this project's own data.",
            "Stop the server that has the data set, and remove that file.",
        ) from None


def _build_untrusted_error(failure: DataSetPlaceError) -> StateError:
    return StateError(error(NOT_OURS, f"{failure.why}. It was not opened.", LOOK_FIRST))


def _make_folder(folder: Path) -> None:
    try:
        make_folder(folder)
    except OSError as problem:
        raise StateError.of(
            "The embedded backend cannot start",
            f"Cannot keep a data set in {folder}: {problem.strerror}.",
            "Make that folder writable, or work in a copy of the project.",
        ) from None


@contextmanager
def _started(data: Path, *, fresh: bool = True, profile: str = "") -> Iterator[Embedded]:
    from synapse_apply.emulator.core.backend import DataSetBusyError
    from synapse_apply.emulator.core.place import DataSetPlaceError
    from synapse_apply.emulator.core.store import DataSetError
    from synapse_apply.emulator.serve import EmbeddedServer, ServeError

    try:
        server = EmbeddedServer(data, profile=profile)
        server.__enter__()
    except DataSetBusyError as failure:
        raise LockHeld.of(
            "The embedded backend is in use",
            f"{failure.why[:1].upper()}{failure.why[1:]}.",
            "Wait until the other run has ended, or begin with `synapse-apply emulator serve`, "
            "which several runs can use.",
        ) from None
    except DataSetPlaceError as failure:
        raise StateError.of(
            "The embedded backend cannot start",
            f"{failure.why[:1].upper()}{failure.why[1:]}.",
            "Make that folder writable, or work in a copy of the project.",
        ) from None
    except (DataSetError, ServeError) as failure:
        raise StateError.of("The embedded backend cannot start", f"{failure}.") from None
    try:
        yield Embedded(server.url, server.data_set, fresh=fresh, token=Sensitive(server.token))
    finally:
        server.close()
