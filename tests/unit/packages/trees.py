"""Folders, repositories and zips for the package tests."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import InputError
from synapse_apply.model.resource import PackageSource
from synapse_apply.packages.sources import MAX_SIZE, read_source_as_package

FOLDER = PackageSource("folder", "p")
AT_HEAD = PackageSource("git", "p", "HEAD")
ZIP = PackageSource("file", "p.zip")


def write(top: Path, files: Mapping[str, str | bytes]) -> None:
    """The files, with their folders."""
    for name, content in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def make_zip(path: Path, files: Mapping[str, bytes], **facts: int) -> None:
    """A zip whose entries carry these ZipInfo attributes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            for fact, value in facts.items():
                setattr(info, fact, value)
            archive.writestr(info, content)


def change_unseen(path: Path) -> None:
    """Another byte near the end of a file, under its old size and time of change."""
    info = path.stat()
    with path.open("r+b") as file:
        file.seek(-8, os.SEEK_END)
        file.write(b"\xff")
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def findings(source: PackageSource, root: Path, max_size: int = MAX_SIZE) -> list[Diagnostic]:
    """What inspecting the source complains of; empty when it does not."""
    found: list[Diagnostic] = []
    try:
        read_source_as_package(source, root, max_size)
    except InputError as problem:
        found += problem.diagnostics
    assert all(one.detail and one.hint for one in found)
    return found


def summaries(source: PackageSource, root: Path, max_size: int = MAX_SIZE) -> list[str]:
    """The findings' summaries, sorted."""
    return sorted(one.summary for one in findings(source, root, max_size))
