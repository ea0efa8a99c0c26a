"""Manifests of so many resources, each a document of 12 lines, in ten files or more."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STORAGE = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata:
  name: storage-{n}
  labels: {{team: vision}}
spec:
  name: storage-{n}
  provider: file_system
  category: internal
  configuration:
    base_path: /data/{n}
    permissions: "755"
"""
PLUGIN = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {{name: plugin-{n}}}
spec:
  name: plugin-{n}
  code: plugin-{n}
  description: {text}
  version: "1.0.0"
  author: Vision team
  category: image_processing
  configuration:
    quality: 0.8
"""
TEXTS = {"storage": STORAGE, "plugin": PLUGIN}
DESCRIPTION = "Finds what is in a picture"


def write(folder: Path, kind: str, size: int, changed: int = 0) -> None:
    """Write the manifests anew; the first `changed` resources have another description."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    together = max(10, min(100, size // 10))
    for start in range(0, size, together):
        texts = (
            TEXTS[kind].format(n=n, text="Finds more in a picture" if n < changed else DESCRIPTION)
            for n in range(start, min(start + together, size))
        )
        (folder / f"{kind}-{start // together:05}.yaml").write_text("---\n".join(texts))


def bodies(kind: str, size: int) -> Iterator[dict[str, Any]]:
    """The same resources as a server stores them."""
    for n in range(size):
        if kind == "storage":
            configuration = {"base_path": f"/data/{n}", "permissions": "755"}
            yield {
                "name": f"storage-{n}",
                "provider": "file_system",
                "category": "internal",
                "configuration": configuration,
                "is_default": False,
            }
        else:
            yield {
                "name": f"plugin-{n}",
                "code": f"plugin-{n}",
                "description": DESCRIPTION,
                "version": "1.0.0",
                "author": "Vision team",
                "category": "image_processing",
                "configuration": {"quality": 0.8},
                "is_active": True,
            }
