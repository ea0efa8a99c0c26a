"""A project on the embedded backend: a plugin, its release and the folder it is made of."""

from __future__ import annotations

from pathlib import Path

import pytest
from e2e.scenarios.workplace import Workplace

PROJECT = """\
apiVersion: synapse-apply/v1
kind: Project
manifests: [manifests/]
default_target: embedded
"""
PLUGIN = """\
# The detector.
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: yolo}
spec:
  name: Yolo
  code: yolo
  version: '1.0.0'  # as the release
"""
RELEASE = """\
apiVersion: synapse-apply/v1
kind: Release
spec:
  plugin: yolo
  version:   "1.0.0"  # what is published
  # How it runs:
  is_stable: true

  source: ./plugins/yolo
"""
CONFIG = "name: Yolo\r\ncode: yolo\r\nversion: 1.0.0   # keep\r\n"


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    made = Workplace(tmp_path / "project", {"SYNAPSE_APPLY_INPUT": "0"})
    made.write("synapse-apply.yaml", PROJECT)
    made.write("manifests/plugin.yaml", PLUGIN)
    made.write("manifests/release.yaml", RELEASE)
    made.write("plugins/yolo/plugin/main.py", "print('yolo')\n")
    (made.root / "plugins/yolo/config.yaml").write_bytes(CONFIG.encode())
    return made
