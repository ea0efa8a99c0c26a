"""How each kind of package source is opened, inside of the project, and what it holds.

Its errors and warnings are found here, and its zip is written.
"""

from __future__ import annotations

import io
import os
import re
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, NoReturn

from synapse_apply.files.commits import CommitTree, find_commit
from synapse_apply.files.tree import (
    EntryKind,
    FolderTree,
    Tree,
    UnreadableError,
    decode_text,
    escape_misleading_path,
)
from synapse_apply.model.diagnostic import Diagnostic, error_finding, warning_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.packages import iter_limited_flaws
from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.resource import FILE, FOLDER, GIT, Package, PackageSource
from synapse_apply.model.secrets.secret_rules import ClosedFiles, is_in_forbidden_folder
from synapse_apply.packages import ignore
from synapse_apply.packages.content import (
    GatheredFiles,
    MeasuredPackage,
    PackageFile,
    compute_package_digest,
    exhaust,
    gather_zip_files,
    measure_files,
    open_zip,
    write_zip,
)
from synapse_apply.packages.zip_stamps import FileStamp, ZipStamps

if TYPE_CHECKING:
    from synapse_apply.packages.lint import PackageLint

CONFIG_FILES = ("config.yaml", "synapse.yaml")
NO_CONFIG_HINT = (
    "The platform reads the plugin's actions from this file. Check that this is the plugin's "
    "own folder, and that no ignore rule excludes the file."
)
_RELATIVE_HINT = "Paths of packages are relative to the project's folder."

# (text of config.yaml, its label for messages) -> (its mapping, positions by path); InputError.
ConfigReader = Callable[[str, str], tuple[Mapping[str, Any], Mapping[Any, Any]]]


@frozen
class SourceFiles:
    """The files of a package source; every method raises InputError.

    `root` is the project's folder; `allow_files` are sources that may be outside of it; `closed`
    are files that no package has.
    """

    source: PackageSource
    root: Path
    allow_files: Sequence[str] = ()
    closed: ClosedFiles | None = field(default=None, compare=False)

    @contextmanager
    def open(self) -> Iterator[GatheredFiles]:
        """Gather the files, whose content can be read inside the block."""
        if self.source.kind == FILE:
            with self.open_zip() as file, open_zip(file, self.source.path) as archive:
                gathered = gather_zip_files(archive, self.source.path)
                gathered.findings += self._closed_errors([""])
                # A zip at a Git ref is in memory and has no file on disk to be recognised by.
                if not self.source.ref:
                    gathered.zip_stamp = FileStamp.of(file)
                yield gathered
        elif self.source.kind in (FOLDER, GIT):
            with self._open_tree() as tree:
                gathered = gather_tree(tree)
                gathered.findings += self._closed_errors(file.place for file in gathered.entries)
                yield gathered
        else:
            yield GatheredFiles()

    def config(self, reader: ConfigReader) -> tuple[Mapping[str, Any], Mapping[Any, Any]] | None:
        """config.yaml (else synapse.yaml) at the root as `reader` parses it; None without one."""
        text = self.config_text()
        return None if text is None else reader(*text)

    def config_text(self) -> tuple[str, str] | None:
        """The text of config.yaml, else of synapse.yaml, at the root, and its label for messages.

        None without one.
        """
        named = self._config()
        return named and (named[1], format_file_label(self.source, named[0]))

    def config_file(self) -> Path | None:
        """The real path of a folder's config.yaml (or synapse.yaml), None without one.

        None for a source of another kind, too.
        """
        named = self._config() if self.source.kind == FOLDER else None
        # Resolved, since a writer must change the file whose content is in the package.
        return (self.root / self.source.path / named[0]).resolve() if named else None

    def open_zip(self) -> BinaryIO:
        """Open the zip of a `file` source for reading; its `name` is the real path.

        A zip at a Git ref is read into memory.
        """
        source = self.source
        if source.ref:
            content = self._committed_zip()
            if content is None:
                detail = f"{source.path} is not in {source.short_ref}."
                raise InputError.from_summary("Package file not found", detail, _RELATIVE_HINT)
            return io.BytesIO(content)
        path = self._require_allowed_path()
        if not os.path.isfile(path):  # noqa: PTH113 - also for names that no file can have
            state = "is a folder" if os.path.isdir(path) else "does not exist"  # noqa: PTH112
            raise InputError.from_summary(
                "Package file not found", f"{source.path} {state}.", _RELATIVE_HINT
            )
        try:
            # The path was resolved: a link that is there now was put there after the check.
            return open(
                path,
                "rb",
                opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NOFOLLOW", 0)),
            )
        except OSError as problem:
            reason = f"{source.path}: {problem.strerror}."
            raise InputError.from_summary(
                "Package file cannot be read", reason, "Check its permissions."
            ) from None

    def is_absent_zip(self) -> bool:
        """Whether it is a zip that the commit to read does not have, such as a build result."""
        is_zip_at_ref = self.source.kind == FILE and bool(self.source.ref)
        return is_zip_at_ref and self._committed_zip() is None

    def _committed_zip(self) -> bytes | None:
        self._require_committed_path()
        return find_commit(self.root, self.source.ref).read(self.source.path)

    def _config(self) -> tuple[str, str] | None:
        """Name and text of the first config file at the root that no rule leaves out.

        A config file that a rule leaves out is no part of the package, and must not be read for it.
        """
        try:
            if self.source.kind == FILE:
                with self.open() as gathered:
                    entries = {entry.path: entry for entry in gathered.entries}
                    for name in CONFIG_FILES:
                        if entry := entries.get(name):
                            return name, decode_text(name, entry.size, entry.blocks())
            elif self.source.kind in (FOLDER, GIT):
                with self._open_tree() as tree:
                    rules = ignore.IgnoreRules().entering("", tree.text)
                    for name in CONFIG_FILES:
                        text = None if rules.excluding_rule(name) else tree.text(name)
                        if text is not None:
                            return name, text
        except UnreadableError as problem:
            raise InputError(problem.finding) from None
        return None

    @contextmanager
    def _open_tree(self) -> Iterator[Tree]:
        source = self.source
        if source.kind == GIT:
            self._require_committed_path()
            with CommitTree(self.root, source.path or ".", source.ref) as tree:
                yield tree
            return
        top = self._require_allowed_path()
        # Unlike Path.is_dir, these return False for a name that no file can have.
        if not os.path.isdir(top):  # noqa: PTH112
            is_file = os.path.isfile(top)  # noqa: PTH113
            state_text = "is a file" if is_file else "does not exist"
            hint = (
                "Declare a zip that was built elsewhere with file:." if is_file else _RELATIVE_HINT
            )
            raise InputError.from_summary(
                "Package folder not found", f"{source.path} {state_text}.", hint
            )
        yield FolderTree(top)

    def _require_allowed_path(self) -> Path:
        """The real path of the source, inside of the project or in `allow_files`.

        Otherwise a pull request could upload any file of the machine.
        """
        path = self.source.path
        if "\0" in path:
            detail = f"{path!r} has a zero byte."
            raise InputError.from_summary("Package path not usable", detail, _RELATIVE_HINT)
        try:
            project_root, real_path = self.root.resolve(), (self.root / path).resolve()
            allowed_paths = [(self.root / name).resolve() for name in self.allow_files]
        except (OSError, RuntimeError, ValueError) as problem:
            raise InputError.from_summary(
                "Package path not usable", f"{path}: {problem}", _RELATIVE_HINT
            ) from None
        is_inside = real_path.is_relative_to(project_root)
        if not is_inside and real_path not in allowed_paths:
            self._raise_outside_project()
        self._require_open_folder(real_path.relative_to(project_root) if is_inside else real_path)
        return real_path

    def _require_committed_path(self) -> None:
        """No absolute path and none with `..`; `allow_files` does not apply to commits."""
        if self.source.path.startswith("/") or ".." in self.source.path.split("/"):
            self._raise_outside_project()
        find_commit(self.root, self.source.ref).require_chosen_repository()
        self._require_open_folder(self.source.path)

    def _require_open_folder(self, path: str | Path) -> None:
        if is_in_forbidden_folder(str(path)):
            raise InputError.from_summary(
                "Package in a closed folder",
                f"{self.source.path} points to {path}, which may contain secrets.",
                "Specify the plugin's own folder.",
            )

    def _closed_errors(self, places: Iterable[str]) -> Iterator[Diagnostic]:
        """An error for each file of the package that has credentials of the project."""
        top = self.root.resolve() / self.source.path
        top = top if self.source.ref else top.resolve()
        for place in places:
            if self.closed and (setting := self.closed.find_setting_or_empty(top / place)):
                yield error_finding(
                    "File with credentials in the package",
                    f"{format_file_label(self.source, place)} would be published, but {setting} "
                    "names it as a secret.",
                    "Keep it in another folder, or exclude it with a line in .synapseignore.",
                )

    def _raise_outside_project(self) -> NoReturn:
        raise InputError.from_summary(
            "Package outside the project",
            f"{self.source.path} is outside the project's folder.",
            "Move it into the project, or list it under the target's allow_files.",
        )


def format_file_label(source: PackageSource, path: str) -> str:
    """How a file of a package is called in messages: `ZIP!PATH` or `FOLDER/PATH`, `at REF`."""
    ref_text = f" at {source.short_ref}" if source.ref else ""
    if source.kind == FILE:
        return f"{source.path}!{path}{ref_text}"
    return (path if source.path in ("", ".") else f"{source.path}/{path}") + ref_text


def at_ref(source: PackageSource, ref: str) -> PackageSource:
    """A folder or zip source at this Git ref; a source of another kind is returned unchanged."""
    if source.kind == FOLDER:
        return replace(source, kind=GIT, ref=ref)
    return replace(source, ref=ref) if source.kind == FILE else source


def gather_tree(tree: Tree) -> GatheredFiles:
    """Gather each file that no ignore rule leaves out, links followed; collects all errors."""
    gathered = GatheredFiles()
    try:
        _walk(tree, gathered)
    except ignore.TooManyPatternsError as problem:
        gathered.findings.append(problem.finding)
    # By bytes, as Git does: the order, and so the digest, must not depend on the system. A name
    # that is no UTF-8 has an error already, and must not end the sorting with another.
    gathered.entries.sort(key=lambda entry: entry.path.encode("utf-8", "surrogateescape"))
    gathered.excluded.sort()
    gathered.findings += ignore.find_collisions(entry.path for entry in gathered.entries)
    return gathered


def _walk(tree: Tree, gathered: GatheredFiles) -> None:
    """Add files, left-out paths and errors of a tree to `gathered`."""

    def read_root_ignore_file(path: str) -> str | None:
        text = tree.text(path)
        if text is not None:
            gathered.ignore_files[path] = text
        return text

    # A stack in place of recursion: a checkout may nest folders deeply.
    pending_folders = [("", ignore.IgnoreRules())]
    while pending_folders:
        folder, rules = pending_folders.pop()
        try:
            rules = rules.entering(
                ignore.to_nfc(folder), tree.text if folder else read_root_ignore_file
            )
            entries = tree.entries(folder)
        # It is an UnreadableError, too; without all the rules nothing can be said of any file.
        except ignore.TooManyPatternsError:
            raise
        except UnreadableError as problem:
            gathered.findings.append(problem.finding)
            continue
        if errors := [
            *ignore.git_data_errors((e.path.rpartition("/")[2] for e in entries), folder)
        ]:
            gathered.findings += errors
            continue
        for entry in entries:
            path = ignore.to_nfc(entry.path)
            is_folder_like = entry.kind in (EntryKind.FOLDER, EntryKind.SUBMODULE)
            rule = rules.excluding_rule(path, is_folder=is_folder_like)
            if rule is not None:
                # A left-out folder is one line, and is never entered, however many files it has.
                slash = "/" if is_folder_like else ""
                gathered.excluded.append((escape_misleading_path(path) + slash, rule))
            elif entry.kind is EntryKind.FOLDER:
                pending_folders.append((entry.path, rules))
            else:
                gathered.findings += ignore.unsafe_name_errors(path)
                try:
                    file = tree.file(entry)
                except UnreadableError as problem:
                    gathered.findings.append(problem.finding)
                    continue
                blocks = partial(tree.blocks, file)
                gathered.entries.append(
                    PackageFile(path, file.is_executable, file.size, blocks, file.path)
                )


def find_rule_leaving_out(tree: Tree, path: str) -> str | None:
    """The rule that leaves a path, or a folder above it, out; None if it would be included."""
    rules = ignore.IgnoreRules()
    parts = path.split("/")
    # From the top: as in Git, no pattern below can include what a folder above left out.
    for depth in range(len(parts)):
        rules = rules.entering("/".join(parts[:depth]), tree.text)
        partial_path = "/".join(parts[: depth + 1])
        rule = rules.excluding_rule(partial_path, is_folder=depth + 1 < len(parts))
        if rule is not None:
            return rule
    return None


_ABANDONED_SECONDS = 60.0  # since the last write; a process that still writes is never so slow
_PART = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)\.part")


def choose_temporary_path(path: Path) -> Path:
    """A hidden name beside `path` with this process's id; removes those of killed processes.

    A file is kept if its process runs, or if it was written less than a minute ago: its process
    may be on another host.
    """
    now = time.time()
    with suppress(OSError):
        for leftover in path.parent.iterdir():
            match = _PART.fullmatch(leftover.name)
            is_ours = match is not None and match["name"] == path.name
            if match is None or not is_ours or _may_be_running(int(match["process"])):
                continue
            if now - leftover.stat().st_mtime > _ABANDONED_SECONDS:
                leftover.unlink()
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _may_be_running(process_id: int) -> bool:
    """Whether a process with this id runs, also another user's.

    Our own id counts as ended: a file with it is from an earlier process, as in a container where
    each has the same id.
    """
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return process_id != os.getpid()


MAX_SIZE = 4 * 1024**3


@frozen
class PackageListing:
    """`included` maps each path to its size in bytes; `excluded` has (path, rule), sorted by path.

    A left-out folder ends in a slash and stands for all below it.
    """

    included: Mapping[str, int]
    excluded: tuple[tuple[str, str], ...]


def read_source_as_package(
    source: PackageSource,
    root: Path,
    max_size: int = MAX_SIZE,
    *,
    finding_context: Mapping[str, Any] | None = None,
    allow_files: Sequence[str] = (),
    warn: Callable[[Diagnostic], None] | None = None,
    zip_stamps: ZipStamps | None = None,
    lint: PackageLint | None = None,
    closed: ClosedFiles | None = None,
) -> Package:
    """Read and hash a source as it is now; a zip is remembered in `zip_stamps`.

    `root` is the project's folder; `max_size` is in bytes; `finding_context` has fields that are
    set on each finding (address, position, target, ...); `allow_files` are sources that may be
    outside of the project; `closed` as in SourceFiles; `warn` is called with each warning; `lint`
    inspects the files read.
    A `published` source has no digest and no files. InputError has all errors of the source.
    """
    finding_fields = {"position": source.position} | dict(finding_context or {})
    read_at = zip_stamps.read_clock() if zip_stamps is not None else 0
    try:
        with SourceFiles(source, root, allow_files, closed).open() as gathered:
            if lint is not None:
                lint.begin_package(gathered)
            read = exhaust if lint is None else lint.read_file
            package = measure_or_raise(gathered, max_size, source, read=read)
    except InputError as problem:
        raise InputError(
            *(diagnostic.with_changes(**finding_fields) for diagnostic in problem.diagnostics)
        ) from None
    # Only of a source without errors: those come first.
    if warn is not None:
        for finding in _warnings(package, is_linted=lint is not None):
            warn(finding.with_changes(**finding_fields))
    if zip_stamps is not None and gathered.zip_stamp is not None:
        zip_stamps.remember(gathered.zip_stamp, package.digest, read_at)
    return package


def lint_hashed_package(
    package: Package, root: Path, allow_files: Sequence[str], lint: PackageLint
) -> None:
    """Give `lint` the files that it wants of a package that was hashed before, no others.

    InputError where what is there now is not what was hashed.
    """
    source = package.source
    with SourceFiles(source, root, allow_files).open() as gathered:
        lint.begin_package(gathered)
        measured = measure_files(filter(lint.wants_file, gathered.entries), lint.read_file)
    if (
        {entry.path for entry in gathered.entries} != package.files.keys()
        or not measured.files.items() <= package.files.items()
        or measured.findings
    ):
        raise InputError.from_summary(
            "Package changed while it was read",
            f"{source} changed after it was read.",
            "Wait until the writing program has finished, then try again.",
            position=source.position,
        )


def list_package_files(
    source: PackageSource,
    root: Path,
    *,
    allow_files: Sequence[str] = (),
    closed: ClosedFiles | None = None,
) -> PackageListing:
    """Which files are in the package and which are left out, by which rule; nothing is hashed.

    InputError has all errors about names and links. `closed` as in SourceFiles.
    """
    with SourceFiles(source, root, allow_files, closed).open() as gathered:
        if gathered.findings:
            raise InputError(*iter_limited_flaws(gathered.findings))
        return PackageListing(
            {entry.path: entry.size for entry in gathered.entries}, tuple(gathered.excluded)
        )


def measure_or_raise(
    gathered: GatheredFiles,
    max_size: int,
    source: PackageSource,
    zip_output: IO[bytes] | None = None,
    read: Callable[[PackageFile, Iterator[bytes]], None] = exhaust,
) -> Package:
    """Hash and measure the files; they are written to `zip_output` as a zip, else given to `read`.

    InputError has all errors of the source, the size limit in bytes included.
    """
    findings = [*gathered.findings]
    total = sum(entry.size for entry in gathered.entries)
    if total > max_size:
        largest = max(gathered.entries, key=lambda entry: entry.size)
        findings.append(
            error_finding(
                "Package too large",
                f"{source} contains {total} bytes; max_package_size is {max_size}. "
                f"The largest file is {largest.path} ({largest.size} bytes).",
                "Exclude files with .synapseignore, or raise max_package_size.",
            )
        )
    elif not gathered.entries and not findings and source.kind != "published":
        count = len(gathered.excluded)
        findings.append(
            error_finding(
                "Package is empty",
                f"{source} contains no file.{f' Excluded by rules: {count}.' if count else ''}",
                "Check the path and the lines of .synapseignore and .gitignore.",
            )
        )
    # An entry of a zip that was refused is never unpacked, and an incomplete zip is never written.
    # Any other source is read on, so that all its errors are reported at once.
    if findings and (source.kind == FILE or zip_output is not None):
        raise InputError(*iter_limited_flaws(findings))
    if zip_output is not None:
        measured = write_zip(gathered.entries, zip_output)
    elif total > max_size:
        measured = MeasuredPackage()
    else:
        measured = measure_files(gathered.entries, read)
    findings += measured.findings
    if findings:
        raise InputError(*iter_limited_flaws(findings))
    digest = compute_package_digest(measured.files) if measured.files else ""
    return Package(digest, measured.files, measured.size, source)


def _warnings(package: Package, *, is_linted: bool = False) -> Iterator[Diagnostic]:
    """Warnings about a package: names that Windows does not allow, a missing config.yaml.

    With `is_linted` the latter is left to the lint, which reports it by its own rule.
    """
    source, files = package.source, package.files
    unfit = [(path, fault) for path in files if (fault := ignore.windows_name_fault(path))]
    if unfit:
        names = (f"{escape_misleading_path(path)} {fault}" for path, fault in unfit)
        yield warning_finding(
            "Names that Windows does not allow",
            f"{source}: {format_short_list(names)}.",
            "Agents on Windows cannot unpack the package. Rename the files, or exclude them "
            "with a line in .synapseignore.",
        )
    if files and not is_linted and not files.keys() & set(CONFIG_FILES):
        yield warning_finding(
            "Package without config.yaml",
            f"{source} has neither config.yaml nor synapse.yaml at its root.",
            NO_CONFIG_HINT,
        )


def write_package_zip(
    source: PackageSource,
    root: Path,
    path: Path,
    max_size: int = MAX_SIZE,
    *,
    allow_files: Sequence[str] = (),
    closed: ClosedFiles | None = None,
    warn: Callable[[Diagnostic], None] = lambda _finding: None,
) -> Package:
    """Write the reproducible zip of a source to a path, atomically; returns the package.

    An existing zip is replaced. InputError for any other existing file, for a path that would be
    part of the package itself, and for errors in the source. `closed` as in SourceFiles; `warn` is
    called with each warning.
    """
    if fault := _find_zip_path_fault(source, root, path):
        raise InputError(_unusable_zip_path(path, fault))
    temporary_path = choose_temporary_path(path)
    try:
        # Written beside and renamed: a reader never sees an incomplete zip.
        with (
            SourceFiles(source, root, allow_files, closed).open() as gathered,
            temporary_path.open("xb") as file,
        ):
            package = measure_or_raise(gathered, max_size, source, file)
        temporary_path.replace(path)
    except OSError as problem:
        raise InputError(_unusable_zip_path(path, f"{problem.strerror}.")) from None
    finally:
        with suppress(OSError):
            temporary_path.unlink()
    for finding in _warnings(package):
        warn(finding)
    return package


def _find_zip_path_fault(source: PackageSource, root: Path, path: Path) -> str:
    """Why no zip can be written there, as a phrase; "" if it can.

    It is a folder, a file that is no zip, the source itself, or in the source and by no ignore rule
    left out of the next zip.
    """
    if path.is_dir():
        return "it is a folder."
    is_zip = not path.exists()
    with suppress(OSError):
        is_zip = is_zip or zipfile.is_zipfile(path)
    if not is_zip:
        return "another file exists there, and it is not a zip."
    real_path, source_path = path.resolve(), (root / source.path).resolve()
    if source.kind == FILE and real_path == source_path:
        return "this is the source itself."
    if source.kind == FOLDER and real_path.is_relative_to(source_path):
        relative_path = real_path.relative_to(source_path).as_posix()
        try:
            if find_rule_leaving_out(FolderTree(source_path), relative_path) is None:
                return "the zip would become a part of the package."
        except UnreadableError as problem:
            raise InputError(problem.finding) from None
    return ""


def _unusable_zip_path(path: Path, reason: str) -> Diagnostic:
    return error_finding(
        "The zip cannot be written", f"{path}: {reason}", "Choose a different location with -o."
    )
