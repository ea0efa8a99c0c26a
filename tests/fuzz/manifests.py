"""Fuzzes manifests: `validate` reads them all, and what is sound is planned."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random
from typing import ClassVar

from fuzz.corpus import ROOT, manifests
from fuzz.tool import execute, write_project
from fuzz.yaml_mutations import mutated_text

PROJECT = """\
apiVersion: synapse-apply/v1
kind: Project
manifests: [manifests/]
variables: {bucket: {default: b}, threshold: {type: number, default: 0.5}, quality: {default: x}}
default_target: one
targets:
  one: {url: "http://127.0.0.1:9", allow_env: ["A*"]}
  two:
    url: "http://127.0.0.1:9"
    api: v2
    overlays: {"release/*@*": {spec: {is_stable: true}}}
    policy: {rules: {names: {kinds: [storage], pattern: {name: "^[A-Z]"}}}}
"""


class Manifests:
    """One file of manifests in a project of two targets."""

    name = "manifests"
    environment: ClassVar = {"RAW_DATA_KEY_ID": "AKIA", "A": "a"}

    def prepare(self, folder: Path) -> None:
        text = PROJECT.partition("    policy:")[0]
        write_project(folder, text)
        shutil.copytree(ROOT / "examples/quickstart/plugins", folder / "plugins")
        (folder / "manifests").mkdir()
        self.file = folder / "manifests" / "input.yaml"

    def make(self, random: Random) -> bytes:
        return mutated_text(random.choice(manifests()), manifests(), random)

    def run(self, data: bytes, random: Random) -> None:
        self.file.write_bytes(data)
        kind = random.random()
        code = execute("validate", *(["--json"] if kind < 0.3 else []))
        if kind > 0.7:
            execute("validate", "--strict", "-t", "two")
        if kind > 0.9 and code == 0:
            execute("plan", "-t", "embedded", *(["--json"] if kind > 0.95 else []))
        if kind > 0.97:
            execute("bump", "release/image-processing@1.0.0", "patch")
            execute("validate", "--graph", "-t", "one")
