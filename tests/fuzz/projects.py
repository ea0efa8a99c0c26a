"""Fuzzes project files: every command reads one first."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random
from typing import ClassVar

from fuzz.corpus import ROOT, projects
from fuzz.tool import execute, write_project
from fuzz.yaml_mutations import mutated_text

LISTED = """\
apiVersion: synapse-apply/v1
kind: Project
variables: {bucket: {}, threshold: {type: number, default: 1}, environment: {default: x}}
targets_from:
  file: tenants.yaml
  name: t-${row.name}
  defaults: {tier: standard, seconds: 3}
  template:
    url: https://${row.name}.example/${row.tier}
    token: {env: "TOKEN_${row.name}"}
    labels: {tier: "${row.tier}"}
    settle_after: ${row.seconds}
    state: {url: "states/${row.name}.db"}
    variables: {bucket: "$${x}-${row.name}-${var.environment}"}
    overlays: {"storage/*": {spec: {name: "${row.name}"}}}
    policy: {rules: [{rule: max-changes, name: "r-${row.name}", limit: 5}]}
"""
ROWS = """\
- {name: acme, tier: gold}
- name: beta
  seconds: 1.5
- {name: "gamma", tier: "1.10", seconds: 7}
"""


class Projects:
    """A project file over sound manifests, with a file of variables and a list beside it."""

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
        self.rows = folder / "tenants.yaml"
        self.rows.write_text(ROWS)

    def make(self, random: Random) -> bytes:
        texts = [*projects(), *[LISTED] * (len(projects()) // 3)]
        return mutated_text(random.choice(texts), projects(), random)

    def run(self, data: bytes, random: Random) -> None:
        self.file.write_bytes(data)
        kind = random.random()
        is_list_odd = random.random() < 0.5
        self.rows.write_bytes(
            mutated_text(ROWS, [ROWS, LISTED], random) if is_list_odd else ROWS.encode()
        )
        if is_list_odd and kind < 0.6:
            self.file.write_text(LISTED)
            execute("validate", "-t", random.choice(["t-acme", "t-*", "tier=*", "tier=gold,t-a*"]))
        execute("validate", *(["--json"] if kind < 0.3 else []))
        if kind > 0.6:
            execute("validate", "-t", "prod", "--var", "@values.yaml", "--var", "threshold=1")
        if kind > 0.9:
            self.values.write_bytes(data)
            execute("validate", "--var", "@values.yaml")
            execute("validate", "--graph", "-t", "dev")
            execute("state", "show", "-t", "embedded")
