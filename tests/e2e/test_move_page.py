"""docs/move-to-v2.md tells the truth: its commands are run on a project that API v1 made."""

from __future__ import annotations

from pathlib import Path

from e2e.test_adoption_page import TOKEN, URL, backend, followed
from e2e.test_readme import FENCE, Block, write
from in_process import run
from installed import ROOT

PAGE = (ROOT / "docs" / "move-to-v2.md").read_text(encoding="utf-8")
MANIFESTS = """\
# manifests/all.yaml
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: yolo}
spec: {name: Yolo, code: yolo, category: neural_net, description: Finds things, author: Vision}
---
apiVersion: synapse-apply/v1
kind: Release
spec:
  plugin: yolo
  version: "1.0.0"
  changelog: First
  source: ./plugins/yolo
  verify: {parameters: {emulator: {seconds: 0}}}
---
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: raw-data}
spec:
  {name: Raw Data, provider: file_system, category: internal, configuration: {base_path: /raw}}
"""
CONFIG = (
    "# plugins/yolo/config.yaml\nname: Yolo\ncode: yolo\ncategory: neural_net\ndata_type: image\n"
)


def on_v1(folder: Path, url: str) -> None:
    """Make the project that the page begins with, and apply it."""
    project = next(text for language, text in FENCE.findall(PAGE) if language == "yaml")
    for text in (project.replace(URL, url), MANIFESTS, CONFIG):
        write(Block("yaml", text), folder)
    run("state init", folder, TOKEN)
    run("apply --auto-approve", folder, TOKEN)


def test_the_page_is_what_happens(tmp_path: Path) -> None:
    """Every command prints what the page shows, and nothing is there twice."""
    with backend(tmp_path / "data", v2_ids="own") as server:
        on_v1(tmp_path / "project", server.url)
        told = followed(PAGE, server.url, tmp_path / "project")
        assert server.counts == (1, 1, 1)
    assert "synapse-apply apply --auto-approve --adopt" in told
