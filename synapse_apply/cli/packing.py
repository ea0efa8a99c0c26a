"""Packages as a person and as a program reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synapse_apply.model.aim import aimed
from synapse_apply.model.desired import Package
from synapse_apply.packages.changes import FileChange
from synapse_apply.packages.content import EXECUTABLE
from synapse_apply.packages.inspect import Listing
from synapse_apply.session.declare import shown
from synapse_apply.session.package import Difference, Sought
from synapse_apply.views.grammar import byte_size, plural
from synapse_apply.views.pen import Pen
from synapse_apply.views.safety import clean, disarm
from synapse_apply.views.tables import render_table

_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


def whole(found: Sought, package: Package, sizes: Mapping[str, int]) -> dict[str, Any]:
    """Digest, sum and every file with its SHA-256."""
    return {
        **_head(found),
        "digest": package.digest,
        "size": package.size,
        "files": [
            {
                "path": path,
                "size": sizes.get(path, 0),
                "sha256": content.removesuffix(EXECUTABLE),
                "executable": content.endswith(EXECUTABLE),
            }
            for path, content in package.files.items()
        ],
    }


def built_document(
    found: Sought, package: Package, sizes: Mapping[str, int], path: Path
) -> dict[str, Any]:
    """The same, and the zip that was written."""
    written = {"path": shown(path), "size": path.stat().st_size}
    return {**whole(found, package, sizes), "zip": written}


def built_text(package: Package, path: Path) -> str:
    """What was written, and its digest."""
    size = byte_size(path.stat().st_size)
    return disarm(
        f"Wrote {clean(shown(path))} ({size}): {plural(len(package.files), 'file')}, "
        f"{byte_size(package.size)}\n{package.digest}\n"
    )


def contents_document(found: Sought, listing: Listing, *, by_size: bool) -> dict[str, Any]:
    """What is in the zip and what is left out, by which rule."""
    return {
        **_head(found),
        "size": sum(listing.included.values()),
        "files": [{"path": path, "size": size} for path, size in _files(listing, by_size)],
        "left_out": [{"path": path, "rule": rule} for path, rule in listing.excluded],
    }


def contents_text(found: Sought, listing: Listing, *, by_size: bool, color: bool) -> str:
    """Two tables, and the sums of the first."""
    pen = Pen(color)
    total = byte_size(sum(listing.included.values()))
    text = f"{clean(found.name)}: {plural(len(listing.included), 'file')}, {total}\n"
    if listing.included:
        rows = [(byte_size(size), path) for path, size in _files(listing, by_size)]
        text += "\n" + render_table(("size", "file"), rows, color=color, right={0})
    if listing.excluded:
        text += "\n" + pen("Left out:", "bold") + "\n\n"
        text += render_table(("path", "rule"), listing.excluded, color=color)
    return disarm(text)


def difference_document(found: Difference) -> dict[str, Any]:
    """Both digests, and each file that differs."""
    return {
        "address": str(found.release.address),
        "against": str(found.against),
        "differs": found.differs,
        "digest": found.package.digest,
        "published_digest": found.published,
        "files_known": found.files_known,
        "changes": [
            {
                "path": change.path,
                "change": change.verb,
                "content": change.content,
                "executable": change.executable,
            }
            for change in found.changes
        ],
    }


def difference_text(found: Difference, *, color: bool, hints: bool, aim: str = "") -> str:
    """A line a file, and what may be done; `aim` is the target that was typed."""
    pen = Pen(color)
    address = clean(found.release.address)
    same = found.release.address == found.against
    base = "what was published" if same else f"{clean(found.against)} as it was published"
    if not found.differs:
        return disarm(f"No file differs: {address} is {base}.\n")
    if not found.files_known:
        return disarm(
            f"{address} differs from {base}.\nThe state knows the digest of that and not its "
            "files, so which of them differ cannot be told.\n"
        )
    text = f"{address} differs from {base}: {_counts(found)}.\n\n"
    for change in found.changes:
        text += f"  {pen.mark(_SIGNS[change.verb])}{clean(change.path)}{_remark(change)}\n"
    if same and hints:
        series = clean(found.release.address.name.rpartition("@")[0])
        text += "\nPublished bytes never change. " + aimed(
            f"Next: `synapse-apply bump {series} patch` makes this a new version.\n", aim
        )
    return disarm(text)


def _remark(change: FileChange) -> str:
    """What of a file changed, where that is not its bytes."""
    if change.executable is None:
        return ""
    bit = "executable" if change.executable else "no longer executable"
    if change.verb == "added":
        return f" ({bit})"
    return (
        f" ({'now ' if change.executable else ''}{bit}{'' if change.content else '; same bytes'})"
    )


def _counts(found: Difference) -> str:
    counts = {verb: sum(one.verb == verb for one in found.changes) for verb in _SIGNS}
    return ", ".join(f"{count} {verb}" for verb, count in counts.items() if count)


def _files(listing: Listing, by_size: bool) -> list[tuple[str, int]]:
    files = list(listing.included.items())
    return sorted(files, key=lambda one: (-one[1], one[0])) if by_size else files


def _head(found: Sought) -> dict[str, Any]:
    source = found.source
    head: dict[str, Any] = {"source": {"kind": source.kind, "path": source.path}}
    if source.ref:
        head["source"]["ref"] = source.ref
    return {"address": found.address, **head} if found.address else head
