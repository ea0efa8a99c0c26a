"""What `export`, `bump` and the `package` commands print, as text and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from synapse_apply.cli.console import Console
from synapse_apply.cli.options import add_invocation_options
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, format_json_pointer
from synapse_apply.model.json_types import JsonDocument
from synapse_apply.model.packages import EXECUTABLE_SUFFIX
from synapse_apply.model.phrases import format_count_and_noun, shown_path
from synapse_apply.model.resource import FOLDER, GIT
from synapse_apply.views.grammar import format_byte_size
from synapse_apply.views.sanitize import escape_ci_commands, limit_text, sanitize
from synapse_apply.views.text.findings import format_finding_counts
from synapse_apply.views.text.record import format_variables_to_set, render_unexported
from synapse_apply.views.text.terminal import Style, render_table

if TYPE_CHECKING:
    from synapse_apply import Invocation
    from synapse_apply.library import (
        BumpResult,
        ExportedFiles,
        FileChange,
        PackageDifference,
        PackageInside,
        PackageListing,
        PackageQuery,
        Rewrite,
        WrittenZip,
    )

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


def format_verdict(package_query: PackageQuery, findings: Sequence[Diagnostic]) -> str:
    """Whether a package is valid, with the counts of its findings."""
    verdict = "Not valid" if any(finding.is_error for finding in findings) else "Valid"
    label = f"{verdict}: {sanitize(package_query.label)}"
    return escape_ci_commands(f"{label}{format_finding_counts(findings)}.\n")


def print_written_zip(
    console: Console, package_query: PackageQuery, written_zip: WrittenZip
) -> int:
    """Print path and size of the zip, its number of files, and its digest; the exit code."""
    package, path = written_zip.package, written_zip.file
    size = path.stat().st_size
    document = build_package_document(package_query, written_zip)
    text = (
        f"Wrote {sanitize(shown_path(path))} ({format_byte_size(size)}): "
        f"{format_count_and_noun(len(package.files), 'file')}, "
        f"{format_byte_size(package.size)}\n{package.digest}\n"
    )
    zip_document = {"path": shown_path(path), "size": size}
    console.show({**document, "zip": zip_document}, escape_ci_commands(text))
    return 0


def print_contents(
    console: Console, package_query: PackageQuery, listing: PackageListing, *, by_size: bool
) -> int:
    """Print the files in the zip, and those left out with the rule for each; the exit code."""
    total, included = sum(listing.included.values()), list(listing.included.items())
    if by_size:
        included.sort(key=lambda path_and_size: (-path_and_size[1], path_and_size[0]))
    if console.as_json:
        document = {
            **_build_source_document(package_query),
            "size": total,
            "files": [{"path": path, "size": size} for path, size in included],
            "left_out": [{"path": path, "rule": rule} for path, rule in listing.excluded],
        }
        console.write_or_keep_document(document)
        return 0
    color = console.is_output_colored
    count_text = format_count_and_noun(len(included), "file")
    text = f"{sanitize(package_query.label)}: {count_text}, {format_byte_size(total)}\n"
    if included:
        rows = [(format_byte_size(size), path) for path, size in included]
        text += "\n" + render_table(("size", "file"), rows, color=color, right_columns={0})
    if listing.excluded:
        text += "\n" + Style(color)("Left out:", "bold") + "\n\n"
        text += render_table(("path", "rule"), listing.excluded, color=color)
    console.write_output(escape_ci_commands(text))
    return 0


def print_difference(console: Console, difference: PackageDifference) -> None:
    """Print both digests and every file that differs, or a line for each and the next step."""
    document = {
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
    console.show(document, escape_ci_commands(_format_difference(console, difference)))


def _format_difference(console: Console, difference: PackageDifference) -> str:
    style = Style(console.is_output_colored)
    address = sanitize(difference.release.address)
    is_same_release = difference.release.address == difference.compared_address
    base = f"{sanitize(difference.compared_address)} as it was published"
    base = "the published package" if is_same_release else base
    if not difference.is_different:
        return f"No file differs: {address} matches {base}.\n"
    if not difference.are_files_known:
        return (
            f"{address} differs from {base}.\nThe state records only the digest of that "
            "package, so the differing files are unknown.\n"
        )
    counts = Counter(change.verb for change in difference.changes)
    count_text = ", ".join(f"{counts[verb]} {verb}" for verb in _VERB_SYMBOLS if counts[verb])
    text = f"{address} differs from {base}: {count_text}.\n\n"
    for change in difference.changes:
        symbol = style.format_symbol_and_space(_VERB_SYMBOLS[change.verb])
        text += f"  {symbol}{sanitize(change.path)}{_executable_change(change)}\n"
    if is_same_release and console.shows_hints:
        series = sanitize(difference.release.address.name.rpartition("@")[0])
        command = Command("bump", series, "patch", target=console.typed_target)
        text += f"\nPublished bytes never change. Next: {command} declares this as a new version.\n"
    return text


def _executable_change(change: FileChange) -> str:
    """A note where the executable bit of a file changed, else ""."""
    if change.executable is None:
        return ""
    if change.verb == "added":
        return f" ({'executable' if change.executable else 'no longer executable'})"
    word = "now" if change.executable else "no longer"
    return f" ({word} executable{'' if change.content else '; same bytes'})"


def _build_source_document(package_query: PackageQuery) -> JsonDocument:
    source = package_query.source
    ref = {"ref": source.ref} if source.ref else {}
    release = {"address": package_query.release_text} if package_query.release_text else {}
    return {**release, "source": {"kind": source.kind, "path": source.path, **ref}}


def print_exported_files(
    console: Console, invocation: Invocation, exported_files: ExportedFiles
) -> None:
    """Print the files that were written, the secrets to set, what was not exported, and hints."""
    report, unchanged_files = exported_files.report, exported_files.unchanged_files
    if console.as_json:
        console.write_or_keep_document(_build_export_document(exported_files))
        return
    for path in exported_files.files:
        console.write_output(f"Wrote {shown_path(path)}\n")
    left_out = [(str(one.address), why) for one in report.objects for why in one.left_out_fields]
    secrets = [(str(one.address), str(it)) for one in report.objects for it in one.secrets]
    missed = [(entry.label, entry.reason) for entry in report.missed_objects]
    console.write_output(format_variables_to_set(secrets))
    console.write_output(render_unexported(left_out, missed))
    unchanged_text = f", {len(unchanged_files)} files unchanged" if unchanged_files else ""
    count = format_count_and_noun(len(report.objects), "resource")
    failure_count = sum(entry.is_failure for entry in report.missed_objects)
    summary = f"{count} exported, {failure_count} not{unchanged_text}"
    console.write_output(f"\nExport complete! {summary}.\n")
    if report.objects and console.shows_hints:
        # One a line; every command can be run as printed.
        console.write_output("\nNext:\n")
        for step in exported_files.next_steps:
            console.write_output(f"  {add_invocation_options(step, invocation)}\n")


def _build_export_document(exported_files: ExportedFiles) -> JsonDocument:
    export_report = exported_files.report
    return {
        "exported": [
            {
                "address": str(entry.address),
                "id": entry.remote_id,
                "left_out": list(entry.left_out_fields),
                "secrets": [
                    {"path": format_json_pointer(secret.path), "env": secret.variable}
                    for secret in entry.secrets
                ],
            }
            for entry in export_report.objects
        ],
        "not_exported": [
            {"what": entry.label, "reason": entry.reason} for entry in export_report.missed_objects
        ],
        "inventory": str(exported_files.inventory),
    }


# A file may hold a whole document in one line, of which only the part that changed is of interest.
_MAX_LINE_LENGTH, _CONTEXT_LENGTH = 100, 30


def print_bump(
    console: Console, invocation: Invocation, bump_result: BumpResult, *, is_written: bool
) -> int:
    """Print the edits, as changed lines by file with the next steps; returns the exit code."""
    edits = [
        {
            "file": name,
            "path": format_json_pointer(edit.path),
            "before": old_value,
            "after": edit.value,
        }
        for name, edit, old_value in bump_result.edits
    ]
    document = {
        "before": str(bump_result.old_address),
        "after": str(bump_result.new_address),
        "version": bump_result.new_version,
        "written": is_written,
        "edits": edits,
    }
    lines = [f"{sanitize(bump_result.old_address)} -> {sanitize(bump_result.new_address)}"]
    for file in bump_result.rewrites:
        lines += ["", *_iter_changed_lines(file, Style(console.is_output_colored))]
    if not is_written:
        lines += ["", "Nothing was written (--dry-run)."]
    elif console.shows_hints:
        lines += ["", *_iter_next_steps(bump_result, invocation)]
    console.show(document, escape_ci_commands("\n".join(lines) + "\n"))
    return 0


_MANY_LINES = 1000


def _iter_changed_lines(file: Rewrite, style: Style) -> Iterator[str]:
    old_lines = file.old_content.decode().splitlines()
    new_lines = file.new_content.decode().splitlines()
    # Autojunk ignores frequent lines, which would take quadratic time in a large file (difflib).
    is_large = len(old_lines) > _MANY_LINES
    matcher = SequenceMatcher(None, old_lines, new_lines, autojunk=is_large)
    for verb, i, j, k, m in matcher.get_opcodes():
        if verb == "equal":
            continue
        yield style(f"  {sanitize(file.name)}:{i + 1}", "bold")
        old, new = _shorten_around_change(old_lines[i:j], new_lines[k:m])
        for sign, lines in (("-", old), ("+", new)):
            yield from (f"  {style(sign, sign)} {sanitize(line)}".rstrip() for line in lines)


def _shorten_around_change(old: list[str], new: list[str]) -> tuple[list[str], list[str]]:
    """The old and new lines; of a single long line the part around its change."""
    start = 0
    if len(old) == len(new) == 1 and max(map(len, (*old, *new))) > _MAX_LINE_LENGTH:
        pairs = enumerate(zip(old[0], new[0], strict=False))
        common = next((n for n, (a, b) in pairs if a != b), min(len(old[0]), len(new[0])))
        start = max(0, common - _CONTEXT_LENGTH)
    mark = "…" if start else ""
    old_lines, new_lines = ([mark + _cut(line[start:]) for line in side] for side in (old, new))
    return old_lines, new_lines


def _cut(line: str) -> str:
    return limit_text(line, _MAX_LINE_LENGTH)


def _iter_next_steps(bump_result: BumpResult, invocation: Invocation) -> Iterator[str]:
    new_version = bump_result.new_version
    edited_fields = {edit.path[-1] for _, edit, _ in bump_result.edits}
    if bump_result.changelog and "changelog" not in edited_fields:
        changelog = _cut(sanitize(bump_result.changelog))
        yield f"The changelog still says {changelog!r}. To change it, use -m TEXT."
    for source in bump_result.sources:
        if source.kind == GIT:
            yield (
                f"The source is still {sanitize(source.path)} at {sanitize(source.ref)}: tag "
                f"the code of {new_version}, and set `ref` to that tag."
            )
        elif source.kind != FOLDER:
            yield (
                f"The source is {sanitize(source)}: check that it contains the code of "
                f"{new_version}."
            )
    next_step = Text("Next: ", Command("plan"), " shows the new release.")
    yield add_invocation_options(next_step, invocation)
