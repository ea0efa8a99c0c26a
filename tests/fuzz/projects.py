"""Fuzzes project files: every command reads one first."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random
from typing import ClassVar

from fuzz.corpus import ROOT, projects
from fuzz.tool import execute, write_project
from fuzz.yaml_mutations import mutated_text


class Projects:
    """A project file over sound manifests, and a file of variables beside it."""

    name = "projects"
    environment: ClassVar = {"RAW_DATA_KEY_ID": "AKIA", "SYNAPSE_PROD_TOKEN": "t"}

    def prepare(self, folder: Path) -> None:
        write_project(folder, "")
        for part in ("manifests", "plugins"):
            shutil.copytree(ROOT / "examples/gitops" / part, folder / part)
        shutil.copytree(ROOT / "examples/gitops/manifests-prod", folder / "manifests-prod")
        self.file = folder / "synapse-apply.yaml"
        self.values = folder / "values.yaml"
        self.values.write_text("bucket: b\n")

    def make(self, random: Random) -> bytes:
        return mutated_text(random.choice(projects()), projects(), random)

    def run(self, data: bytes, random: Random) -> None:
        self.file.write_bytes(data)
        kind = random.random()
        execute("validate", *(["--json"] if kind < 0.3 else []))
        if kind > 0.6:
            execute("validate", "-t", "prod", "--var-file", "values.yaml", "--var", "threshold=1")
        if kind > 0.9:
            self.values.write_bytes(data)
            execute("validate", "--var-file", "values.yaml")
            execute("graph", "-t", "dev")
            execute("state", "list", "-t", "embedded")
