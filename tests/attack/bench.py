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


@dataclass
class Bench:
    """`typed` runs a command line; `numbers` are those of its projects."""

    folder: Path
    liar: Liar
    server: Server
    typed: Callable[[str], tuple[int, str]]
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def site(self, api: str) -> Site:
        self.liar.tells(honest)
        return Site.make(self.folder / f"p{next(self.numbers)}", self.server, 1, api=api)

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
