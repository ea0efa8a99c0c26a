"""The command in this process, on new projects against a server that lies."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from attack.lying import Liar, Lie, honest
from fault.site import Server, Site


class ServerBehindLiar(Server):
    """The backend's own doors, asked past the liar and over one connection; `url` is the liar's."""

    def __init__(self, liar: Liar) -> None:
        super().__init__(liar.behind)
        self.url = liar.url

    def close(self) -> None:
        self._connection.close()


@dataclass
class Projects:
    """Those of a module's tests, in a folder; `shared` are the ones that the backend is of now."""

    folder: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)
    shared: dict[tuple[str, str], tuple[Site, str]] = field(default_factory=dict)


@dataclass
class Bench:
    """`typed` runs a command line."""

    projects: Projects
    liar: Liar
    server: Server
    typed: Callable[[str], tuple[int, str]]

    def site(self, api: str) -> Site:
        """A new project; the backend has no object then, so that no other project is shared."""
        self.liar.tells(honest)
        self.projects.shared.clear()
        folder = self.projects.folder / f"p{next(self.projects.numbers)}"
        return Site.make(folder, self.server, 1, api=api)

    @contextmanager
    def switched(self, **switches: str) -> Iterator[None]:
        """The backend with these switches."""
        before = {name: self.server.send("GET", "/_emulator/switches/")[name] for name in switches}
        self.server.send("PATCH", "/_emulator/switches/", switches)
        try:
            yield
        finally:
            self.server.send("PATCH", "/_emulator/switches/", before)

    def does(self, site: Site, command: str, lie: Lie = honest) -> tuple[int, str]:
        """The exit code and all that is printed."""
        self.liar.tells(lie)
        os.chdir(site.root)
        return self.typed(command)
