"""A package source looked at: its content, its config.yaml, and what is left out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from synapse_apply.model.desired import Package, PackageSource
from synapse_apply.model.diagnostic import Diagnostic, error, warning
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.packages.content import Gathered, Measured, Watch, digest_of, measure
from synapse_apply.packages.digests import Digests
from synapse_apply.packages.names import printable, why_not_on_windows
from synapse_apply.packages.sources import CONFIG_FILES, FILE, config_text, opened
from synapse_apply.packages.zipping import write_zip

MAX_SIZE = 4 * 1024**3
_MOST_TOLD = 5

# (text, name of the file for messages) -> (the mapping, its positions); raises InputError.
Reader = Callable[[str, str], tuple[Mapping[str, Any], Mapping[Any, Any]]]


@frozen
class Listing:
    """`included` maps a path to its size in bytes; `excluded` holds (path, rule), by path.

    A folder that was left out stands for all below it and ends in a slash.
    """

    included: Mapping[str, int]
    excluded: tuple[tuple[str, str], ...]


def inspect(
    source: PackageSource,
    root: Path,
    max_size: int = MAX_SIZE,
    *,
    at: Mapping[str, Any] | None = None,
    allow_files: Sequence[str] = (),
    warn: Callable[[Diagnostic], None] | None = None,
    digests: Digests | None = None,
    watch: Watch | None = None,
) -> Package:
    """What a source holds now, read once and hashed, where `digests` does not know it.

    `root` is the project's folder, `max_size` in bytes, `at` what each finding is told of its
    place (address, position, target ...), `allow_files` sources outside the project, `warn`
    takes findings that are no error, `watch` looks at what is read. A `published` source has no
    digest and no files.
    InputError carries every finding.
    """
    told = {"position": source.position} | dict(at or {})
    try:
        with opened(source, root, allow_files) as found:
            if watch is not None:
                watch.begin(found)
            measured = measured_within(found, max_size, source, digests=digests, watch=watch)
    except InputError as problem:
        raise InputError(*(one.with_(**told) for one in problem.diagnostics)) from None
    if warn is not None:
        for finding in doubts(source, measured, is_linted=watch is not None):
            warn(finding.with_(**told))
    digest = digest_of(measured.files) if measured.files else ""
    return Package(digest, measured.files, measured.size, source)


def config_of(
    source: PackageSource, root: Path, reader: Reader, *, allow_files: Sequence[str] = ()
) -> tuple[Mapping[str, Any], Mapping[Any, Any]] | None:
    """The package's config.yaml (or synapse.yaml) as `reader` reads it; None without one.

    InputError when the source cannot be read, and the reader's own.
    """
    found = config_text(source, root, allow_files)
    return None if found is None else reader(*found)


def listing(source: PackageSource, root: Path, *, allow_files: Sequence[str] = ()) -> Listing:
    """What goes into the package and what does not, with the rule; nothing is hashed.

    InputError carries every finding about names and links.
    """
    with opened(source, root, allow_files) as found:
        if found.findings:
            raise InputError(*found.findings)
        return Listing({entry.path: entry.size for entry in found.entries}, tuple(found.excluded))


def measured_within(
    found: Gathered,
    max_size: int,
    source: PackageSource,
    to: IO[bytes] | None = None,
    digests: Digests | None = None,
    watch: Watch | None = None,
) -> Measured:
    """The content measured, and written to `to` as a zip; InputError with all that is wrong.

    With `digests` what it knows is not read, unless it is to be written or `watch` asks for it.
    """
    findings = [*found.findings, *_size_findings(found, max_size, source)]
    # An entry that was refused is never unpacked, and a zip of less than all is no use.
    if findings and (source.kind == FILE or to is not None):
        raise InputError(*findings)
    if to is not None:
        measured = write_zip(found.entries, to)
    elif sum(entry.size for entry in found.entries) > max_size:
        measured = Measured()
    else:
        measured = (
            digests.measured(found, watch) if digests else measure(found.entries, watch=watch)
        )
    findings += measured.findings
    if findings:
        raise InputError(*findings)
    return measured


def _size_findings(found: Gathered, max_size: int, source: PackageSource) -> list[Diagnostic]:
    total = sum(entry.size for entry in found.entries)
    if total > max_size:
        largest = max(found.entries, key=lambda entry: entry.size)
        return [
            error(
                "Package too large",
                f"{source} holds {total} bytes; max_package_size is {max_size}. "
                f"The largest file is {largest.path} ({largest.size} bytes).",
                "Leave files out with .synapseignore, or raise max_package_size.",
            )
        ]
    if not found.entries and not found.findings and source.kind != "published":
        out = f" Left out by rules: {len(found.excluded)}." if found.excluded else ""
        return [
            error(
                "Package is empty",
                f"{source} holds no file.{out}",
                "Check the path and the lines of .synapseignore and .gitignore.",
            )
        ]
    return []


def doubts(
    source: PackageSource, measured: Measured, *, is_linted: bool = False
) -> Iterator[Diagnostic]:
    """What is odd about a package and no error; what the lint tells by its rules is left to it."""
    unfit = [(path, why) for path in measured.files if (why := why_not_on_windows(path))]
    if unfit:
        told = ", ".join(f"{printable(path)} {why}" for path, why in unfit[:_MOST_TOLD])
        more = f" and {len(unfit) - _MOST_TOLD} more" if len(unfit) > _MOST_TOLD else ""
        yield warning(
            "Names that Windows cannot have",
            f"{source}: {told}{more}.",
            "Agents on Windows cannot unpack the package. Rename the files, or leave them out with "
            "a line in .synapseignore.",
        )
    if measured.files and not is_linted and not measured.files.keys() & set(CONFIG_FILES):
        yield warning(
            "Package without config.yaml",
            f"{source} has neither config.yaml nor synapse.yaml at its root.",
            "The platform reads the plugin's actions from it. "
            "Is this the plugin's own folder, and does no ignore rule leave the file out?",
        )
