"""Manifests of so many resources, each a document of some 12 lines, in ten files or more."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
# API v2 carries neither version nor configuration, and lists no description.
PLUGIN_V2 = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata:
  name: plugin-{n}
  labels:
    team: vision
    stage: production
spec:
  name: {text} {n}
  code: plugin-{n}
  category: smart_tool
"""


@dataclass(frozen=True, slots=True)
class Document:
    """A text for each resource; `{text}` in it is `live`, or `edited` where it shall differ."""

    template: str
    live: str
    edited: str


DOCUMENTS = {
    "storage": Document(STORAGE, "", ""),
    "plugin": Document(PLUGIN, "Finds what is in a picture", "Finds more in a picture"),
    "plugin-v2": Document(PLUGIN_V2, "Detector", "Finder"),
}


def write(folder: Path, documents: Sequence[str], size: int, changed: int = 0) -> None:
    """Write the manifests anew, as many of each document.

    The first `changed` resources have another text.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    together = max(10, min(100, size // 10))
    for document in documents:
        form, count = DOCUMENTS[document], size // len(documents)
        for start in range(0, count, together):
            texts = (
                form.template.format(n=n, text=form.edited if n < changed else form.live)
                for n in range(start, min(start + together, count))
            )
            (folder / f"{document}-{start // together:05}.yaml").write_text("---\n".join(texts))


def bodies(document: str, count: int) -> Iterator[dict[str, Any]]:
    """So many of the same resources as a server stores them."""
    return (_BODIES[document](n) for n in range(count))


def _storage(n: int) -> dict[str, Any]:
    return {
        "name": f"storage-{n}",
        "provider": "file_system",
        "category": "internal",
        "configuration": {"base_path": f"/data/{n}", "permissions": "755"},
        "is_default": False,
    }


def _plugin(n: int) -> dict[str, Any]:
    return {
        "name": f"plugin-{n}",
        "code": f"plugin-{n}",
        "description": DOCUMENTS["plugin"].live,
        "version": "1.0.0",
        "author": "Vision team",
        "category": "image_processing",
        "configuration": {"quality": 0.8},
        "is_active": True,
    }


def _plugin_v2(n: int) -> dict[str, Any]:
    name = f"{DOCUMENTS['plugin-v2'].live} {n}"
    return {**_plugin(n), "name": name, "category": "smart_tool"}


_BODIES = {"storage": _storage, "plugin": _plugin, "plugin-v2": _plugin_v2}
