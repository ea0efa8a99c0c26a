"""How the embedded backend of a project is started, or its running server found and trusted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from synapse_apply.files import opening
from synapse_apply.model.command import Command, Text
from synapse_apply.model.errors import LockHeld, StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.values import Sensitive
from synapse_apply.workspace.own_folder import has_own_folder, telling_os_errors

if TYPE_CHECKING:
    from synapse_apply.emulator.core.data_folder import DataSetPlaceError
    from synapse_apply.emulator.data_set import RunningServer


@frozen
class EmbeddedBackend:
    """A running embedded backend and a token that it accepts.

    `is_new` when no object was ever created in its data set.
    """

    url: str
    data_set: str
    is_new: bool
    token: Sensitive


def data_folder_path(root: Path) -> Path:
    """The folder with the data of a project's embedded backend."""
    return root / opening.OWN_FOLDER / "embedded"


def require_trusted_data_folder(root: Path) -> Path:
    """The same path; StateError where it or a file in it may be a commit's or another user's."""
    from synapse_apply.emulator.core import data_folder

    data_path = data_folder_path(root)
    with telling_os_errors(data_path):
        if has_own_folder(root) and opening.own_folder_exists(data_path):
            try:
                data_folder.require_trusted_files(data_path)
            except data_folder.DataSetPlaceError as failure:
                raise _build_untrusted_error(failure) from None
    return data_path


def find_data_set_id(root: Path) -> str:
    """The UUID of a project's data set, "" without one; StateError where it is not trusted."""
    from synapse_apply.emulator.data_set import read_data_set_id

    data_path = require_trusted_data_folder(root)
    server = _find_running_server(data_path)
    return server.data_set if server is not None else read_data_set_id(data_path)


# A thread of the run, which ends with it; a data set that is served already is used instead. It is
# a real server over real HTTP, so that nothing is tested against a stand-in.
@contextmanager
def run_embedded_backend(
    root: Path, *, read_only: bool = False, profile: str = ""
) -> Iterator[EmbeddedBackend]:
    """Start the project's embedded backend, or use its running server; else StateError.

    `profile` applies to a data set that is created here, which keeps it.

    `read_only` leaves nothing behind: without data, a new data set is served from a temporary
    folder. Data without a state would look as if the state had been lost.
    """
    from synapse_apply.emulator.core.data_folder import DATABASE
    from synapse_apply.emulator.data_set import has_never_had_objects

    data_path = require_trusted_data_folder(root)
    # A data set has one writer: a second server on it would be refused anyway.
    if (server := _find_running_server(data_path)) is not None:
        token = Sensitive(server.token)
        yield EmbeddedBackend(
            server.url, server.data_set, is_new=has_never_had_objects(data_path), token=token
        )
        return
    # Looked at before the server makes the file.
    has_no_data = not (data_path / DATABASE).exists()
    if read_only and has_no_data:
        with (
            TemporaryDirectory(prefix="synapse-apply-") as folder,
            _run_server(Path(folder)) as temporary_backend,
        ):
            yield temporary_backend
        return
    try:
        opening.make_own_folders(data_path.parent)
    except OSError as problem:
        raise StateError.from_summary(
            "The embedded backend cannot start",
            f"Cannot keep a data set in {data_path.parent}: {problem.strerror}.",
            "Make that folder writable, or work in a copy of the project.",
        ) from None
    with _run_server(
        data_path, is_new=has_no_data or has_never_had_objects(data_path), profile=profile
    ) as backend:
        yield backend


# `SYNAPSE_APPLY_HOSTS` does not list the embedded backend. What `endpoint.json` says is checked
# instead (numeric loopback, our process, its lock, its data set), and its token is of no use
# elsewhere.
def _find_running_server(data_path: Path) -> RunningServer | None:
    from synapse_apply.emulator.core.data_folder import DataSetPlaceError
    from synapse_apply.emulator.data_set import EndpointError, find_running_server

    try:
        return find_running_server(data_path)
    except DataSetPlaceError as failure:
        raise _build_untrusted_error(failure) from None
    except EndpointError as failure:
        raise StateError.from_summary(
            "The embedded backend that runs here is not used",
            f"{failure.reason}. A token is sent only to a server of this project's own data.",
            "Stop the server that uses the data set, and remove that file.",
        ) from None


def _build_untrusted_error(failure: DataSetPlaceError) -> StateError:
    return StateError.from_summary(
        opening.NOT_OURS, f"{failure.reason}. It was not opened.", opening.LOOK_FIRST
    )


@contextmanager
def _run_server(
    data_path: Path, *, is_new: bool = True, profile: str = ""
) -> Iterator[EmbeddedBackend]:
    from synapse_apply.emulator.core.backend import DataSetBusyError, ServeError
    from synapse_apply.emulator.core.data_folder import DataSetPlaceError
    from synapse_apply.emulator.core.store import DataSetError
    from synapse_apply.emulator.serve import EmbeddedServer

    try:
        server = EmbeddedServer(data_path, profile=profile)
        server.__enter__()
    except DataSetBusyError as failure:
        raise LockHeld.from_summary(
            "The embedded backend is in use",
            f"{failure.reason[:1].upper()}{failure.reason[1:]}.",
            Text(
                "Wait until the other run has ended, or start it with ",
                Command("emulator"),
                ", which several runs can use.",
            ),
        ) from None
    except DataSetPlaceError as failure:
        raise StateError.from_summary(
            "The embedded backend cannot start",
            f"{failure.reason[:1].upper()}{failure.reason[1:]}.",
            "Make that folder writable, or work in a copy of the project.",
        ) from None
    except (DataSetError, ServeError) as failure:
        raise StateError.from_summary("The embedded backend cannot start", f"{failure}.") from None
    try:
        yield EmbeddedBackend(
            server.url, server.data_set, is_new=is_new, token=Sensitive(server.token)
        )
    finally:
        server.close()
