"""What the `package` commands print, as text and as JSON."""

from __future__ import annotations

from typing import Any

from synapse_apply.library import (
    FileChange,
    PackageDifference,
    PackageInside,
    PackageListing,
    PackageQuery,
    WrittenZip,
)
from synapse_apply.model.coding.json_types import JsonDocument
from synapse_apply.model.command import Command
from synapse_apply.model.packages import EXECUTABLE_SUFFIX
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.views.grammar import format_byte_size
from synapse_apply.views.paths import shown_path
from synapse_apply.views.sanitize import escape_ci_commands, sanitize
from synapse_apply.views.text.style import Style
from synapse_apply.views.text.tables import render_table

_VERB_SYMBOLS = {"added": "+", "removed": "-", "changed": "~"}


def build_package_document(
    package_query: PackageQuery, package_inside: PackageInside
) -> JsonDocument:
    """Digest, total size, and every file with its SHA-256."""
    package, sizes = package_inside.package, package_inside.file_sizes
    return {
        **_build_source_document(package_query),
        "digest": package.digest,
        "size": package.size,
        "files": [
            {
                "path": path,
                "size": sizes.get(path, 0),
                "sha256": content.removesuffix(EXECUTABLE_SUFFIX),
                "executable": content.endswith(EXECUTABLE_SUFFIX),
            }
            for path, content in package.files.items()
        ],
    }


def build_zip_document(package_query: PackageQuery, written_zip: WrittenZip) -> JsonDocument:
    """The package's document, and path and size of the zip that was written."""
    path = written_zip.file
    zip_document = {"path": shown_path(path), "size": path.stat().st_size}
    return {**build_package_document(package_query, written_zip), "zip": zip_document}


def format_zip_summary(written_zip: WrittenZip) -> str:
    """The path and size of the zip, its number of files, and its digest."""
    package, path = written_zip.package, written_zip.file
    size = format_byte_size(path.stat().st_size)
    return escape_ci_commands(
        f"Wrote {sanitize(shown_path(path))} ({size}): "
        f"{format_count_and_noun(len(package.files), 'file')}, "
        f"{format_byte_size(package.size)}\n{package.digest}\n"
    )


def build_contents_document(
    package_query: PackageQuery, listing: PackageListing, *, by_size: bool
) -> JsonDocument:
    """The files in the zip, and the files left out, with the rule for each."""
    return {
        **_build_source_document(package_query),
        "size": sum(listing.included.values()),
        "files": [
            {"path": path, "size": size} for path, size in _list_included_files(listing, by_size)
        ],
        "left_out": [{"path": path, "rule": rule} for path, rule in listing.excluded],
    }


def format_contents(
    package_query: PackageQuery, listing: PackageListing, *, by_size: bool, color: bool
) -> str:
    """A table of the files in the zip, and one of those left out."""
    style = Style(color)
    total = format_byte_size(sum(listing.included.values()))
    count_text = format_count_and_noun(len(listing.included), "file")
    text = f"{sanitize(package_query.label)}: {count_text}, {total}\n"
    if listing.included:
        rows = [
            (format_byte_size(size), path) for path, size in _list_included_files(listing, by_size)
        ]
        text += "\n" + render_table(("size", "file"), rows, color=color, right_columns={0})
    if listing.excluded:
        text += "\n" + style("Left out:", "bold") + "\n\n"
        text += render_table(("path", "rule"), listing.excluded, color=color)
    return escape_ci_commands(text)


def difference_document(difference: PackageDifference) -> JsonDocument:
    """Both digests, and every file that differs."""
    return {
        "address": str(difference.release.address),
        "against": str(difference.compared_address),
        "differs": difference.is_different,
        "digest": difference.package.digest,
        "published_digest": difference.published_digest,
        "files_known": difference.are_files_known,
        "changes": [
            {
                "path": change.path,
                "change": change.verb,
                "content": change.content,
                "executable": change.executable,
            }
            for change in difference.changes
        ],
    }


def format_difference(
    difference: PackageDifference, *, color: bool, hints: bool, typed_target: str = ""
) -> str:
    """One line per differing file, and the next step; `typed_target` is named in its command."""
    style = Style(color)
    address = sanitize(difference.release.address)
    is_same_release = difference.release.address == difference.compared_address
    base = (
        "what was published"
        if is_same_release
        else f"{sanitize(difference.compared_address)} as it was published"
    )
    if not difference.is_different:
        return escape_ci_commands(f"No file differs: {address} is {base}.\n")
    if not difference.are_files_known:
        return escape_ci_commands(
            f"{address} differs from {base}.\nThe state knows the digest of that and not its "
            "files, so which of them differ cannot be told.\n"
        )
    text = f"{address} differs from {base}: {_format_change_counts(difference)}.\n\n"
    for change in difference.changes:
        text += (
            f"  {style.format_symbol_and_space(_VERB_SYMBOLS[change.verb])}{sanitize(change.path)}"
            f"{_executable_change(change)}\n"
        )
    if is_same_release and hints:
        series = sanitize(difference.release.address.name.rpartition("@")[0])
        command = Command("bump", series, "patch", target=typed_target)
        text += f"\nPublished bytes never change. Next: {command} makes this a new version.\n"
    return escape_ci_commands(text)


def _executable_change(change: FileChange) -> str:
    """A note where the executable bit of a file changed, else ""."""
    if change.executable is None:
        return ""
    mode_text = "executable" if change.executable else "no longer executable"
    if change.verb == "added":
        return f" ({mode_text})"
    return (
        f" ({'now ' if change.executable else ''}{mode_text}"
        f"{'' if change.content else '; same bytes'})"
    )


def _format_change_counts(difference: PackageDifference) -> str:
    counts = {
        verb: sum(change.verb == verb for change in difference.changes) for verb in _VERB_SYMBOLS
    }
    return ", ".join(f"{count} {verb}" for verb, count in counts.items() if count)


def _list_included_files(listing: PackageListing, by_size: bool) -> list[tuple[str, int]]:
    files = list(listing.included.items())
    return sorted(files, key=lambda file_size: (-file_size[1], file_size[0])) if by_size else files


def _build_source_document(package_query: PackageQuery) -> JsonDocument:
    source = package_query.source
    document: dict[str, Any] = {"source": {"kind": source.kind, "path": source.path}}
    if source.ref:
        document["source"]["ref"] = source.ref
    return (
        {"address": package_query.release_text, **document}
        if package_query.release_text
        else document
    )
