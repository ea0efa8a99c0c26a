"""Plugin packages of tests, as zips and as folders."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import yaml


def config_of(code: str = "yolo", version: str = "1.0.0", **more: object) -> dict[str, object]:
    """A config.yaml that the vendor's own model accepts."""
    actions = {"convert": {"entrypoint": "plugin.convert.run", "method": "job"}}
    fields = {"name": "Yolo", "code": code, "version": version, "category": "upload"}
    return {**fields, "actions": actions, **more}


def zip_of(config: dict[str, object], **files: str) -> bytes:
    """A package with this config.yaml at its root."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("config.yaml", yaml.safe_dump(config, allow_unicode=True))
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def write_package(folder: Path, config: dict[str, object]) -> None:
    """The same as a folder."""
    (folder / "plugin").mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(config, allow_unicode=True)
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    (folder / "plugin" / "convert.py").write_text("def run(): ...\n", encoding="utf-8")
