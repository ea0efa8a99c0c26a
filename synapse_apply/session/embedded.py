"""The embedded backend as a target: started for a run, or the one that is served already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from synapse_apply.model.errors import LockHeld, StateError
from synapse_apply.model.frozen import frozen


@frozen
class Embedded:
    """A running embedded backend; `fresh` when nothing was ever made in its data set."""

    url: str
    data_set: str
    fresh: bool


def data_folder(root: Path) -> Path:
    """Where the embedded backend of a project keeps its data."""
    return root / ".synapse-apply" / "embedded"


def data_set_of(root: Path) -> str:
    """The UUID of the data set of a project, served or not; "" where it has none."""
    from synapse_apply.emulator.data_set import find_running, recorded_data_set

    data = data_folder(root)
    served = find_running(data)
    return served.data_set if served is not None else recorded_data_set(data)


@contextmanager
def running(root: Path, *, looking: bool = False) -> Iterator[Embedded]:
    """The embedded backend of a project; StateError when its data cannot be used.

    With `looking` nothing is left behind: where there is no data yet, it serves a data set as new
    ones are, in a folder that goes with it. One without a state would look like a state lost.
    """
    from synapse_apply.emulator.data_set import find_running, is_untouched

    data = data_folder(root)
    served = find_running(data)
    if served is not None:
        yield Embedded(served.url, served.data_set, fresh=is_untouched(data))
        return
    from synapse_apply.emulator.core.backend import DATABASE

    missing = not (data / DATABASE).exists()
    if looking and missing:
        with TemporaryDirectory(prefix="synapse-apply-") as folder, _started(Path(folder)) as new:
            yield new
        return
    with _started(data, fresh=missing or is_untouched(data)) as started:
        yield started


@contextmanager
def _started(data: Path, *, fresh: bool = True) -> Iterator[Embedded]:
    from synapse_apply.emulator.core.backend import DataSetBusyError, DataSetPlaceError
    from synapse_apply.emulator.core.store import DataSetError
    from synapse_apply.emulator.serve import EmbeddedServer, ServeError

    try:
        server = EmbeddedServer(data)
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
        yield Embedded(server.url, server.data_set, fresh=fresh)
    finally:
        server.close()
