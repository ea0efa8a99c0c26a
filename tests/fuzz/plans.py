"""Fuzzes files of saved plans: `show` tells them, `apply` takes them."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from fuzz.json_mutations import broken_bytes, mutated, text_of
from fuzz.tool import execute
from fuzz.worlds import copy_example


class Plans:
    """Plans of an empty state; some with an entry that no plan has."""

    name = "plans"
    environment: ClassVar = {"RAW_DATA_KEY_ID": "AKIA"}

    def prepare(self, folder: Path) -> None:
        copy_example("quickstart", folder)
        self.file = folder / "input.plan"
        shutil.rmtree(folder / ".synapse-apply", ignore_errors=True)
        execute("plan", "-t", "embedded", "--out", "empty.plan")
        self.before = folder / "before"
        self.now = folder / ".synapse-apply"
        shutil.copytree(self.now, self.before, symlinks=True)

    def make(self, random: Random) -> bytes:
        from fuzz.zip_mutations import rebuilt

        with zipfile.ZipFile("empty.plan") as archive:
            entries = [(info.filename, archive.read(info)) for info in archive.infolist()]
        if random.random() < 0.1:
            entries.append((f"packages/{'0' * 64}.zip", b"PK"))
        made = [(name, _content(name, data, random)) for name, data in entries]
        return rebuilt(made, random)

    def run(self, data: bytes, random: Random) -> None:
        self.file.write_bytes(data)
        kind = random.random()
        code = execute("show", "input.plan", *(["--json"] if kind < 0.4 else []))
        if code == 0 and kind > 0.6:
            execute("show", "input.plan", "--report", "html=x.html", "--report", "markdown=x.md")
        if kind > 0.8:
            execute("apply", "-t", "embedded", "input.plan", "--allow-unsigned", "--auto-approve")
            shutil.rmtree(self.now)
            shutil.copytree(self.before, self.now, symlinks=True)


def _content(name: str, data: bytes, random: Random) -> bytes:
    if name != "plan.json":
        return broken_bytes(data, random) if random.random() < 0.1 else data
    if random.random() < 0.1:
        return broken_bytes(data, random)
    document: dict[str, Any] = json.loads(data)
    if random.random() < 0.7:
        document["signature"] = None  # so that it is looked at, not only refused
    return text_of(mutated(document, random)).encode("utf-8", "surrogatepass")
