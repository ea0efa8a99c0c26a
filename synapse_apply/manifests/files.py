"""Which files of a folder are manifests, which secrets they name, and which settings are pinned."""

from __future__ import annotations

import errno
import json
import os
import posixpath
import re
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import field, fields
from pathlib import Path
from typing import Any

from synapse_apply.files.checkout import (
    is_at_or_below_path,
    leads_outside_folder,
    read_regular_file,
    read_submodule_paths,
)
from synapse_apply.files.tree import Entry, EntryKind, FolderTree, UnreadableError
from synapse_apply.manifests.decode.variables import VariableValues, substitute_variables
from synapse_apply.manifests.project.project import FILE_NAME, LazyTargets, text_position
from synapse_apply.manifests.yaml.reader import VALUE_FROM, read_documents
from synapse_apply.model.diagnostic import Diagnostic, Position, error_finding, warning_finding
from synapse_apply.model.frozen import mutable, replace
from synapse_apply.model.lazy_patterns import lazy_pattern
from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.project import Project, Target
from synapse_apply.model.values import SecretRef
from synapse_apply.secret_sources.catalogue import SECRET_SOURCES
from synapse_apply.secret_sources.source import SecretSource, build_reference_or_none_if_malformed

_MANIFEST_SUFFIXES = (".yaml", ".yml")
_IGNORED_NAMES = frozenset(("node_modules", "__pycache__"))


@mutable
class ManifestFiles:
    """The files of one target, each once; `implicit` when no folder of manifests is configured.

    `files` has whether a file was listed itself, not found in a folder. Those of a commit are
    relative to the project's folder.
    """

    files: dict[Path, bool] = field(default_factory=dict)
    findings: list[Diagnostic] = field(default_factory=list)
    implicit: bool = False

    def add(self, file: Path, *, is_listed: bool) -> None:
        """Add a file, unless it is there already."""
        self.files[file] = is_listed or self.files.get(file, False)


class ManifestPaths:
    """The files and folders that one target's manifests are read from, on disk.

    They are `paths` when given (relative to the working folder), else the project's and the
    target's, else `manifests/` or the project's folder. Without a project file that folder is read
    and none below it: it may be anybody's home.
    """

    def __init__(self, project: Project, target: Target, paths: Sequence[str] = ()) -> None:
        self._project = project
        self._target = target
        self._is_typed = bool(paths)
        self._is_configured = bool(project.manifests or target.manifests)
        self.texts = (*paths,) or (*project.manifests, *target.manifests)
        self._is_flat = False
        if not self.texts:
            self.texts = ("manifests/" if (project.root / "manifests").is_dir() else ".",)
            self._is_flat = project.file is None and self.texts == (".",)

    @property
    def identity(self) -> Hashable:
        """What `collect` depends on: equal for the targets of a project that read the same."""
        places = tuple([text_position(text) for text in self.texts])
        return self.texts, places, self._target.allow_files

    def collect(self) -> ManifestFiles:
        """The manifest files in order, with findings for those that are refused."""
        result = ManifestFiles()
        result.implicit = not self._is_typed and not self._is_configured and self.texts[0] == "."
        is_listed_here = self._is_configured and not self._is_typed
        for text, path in self._resolved():
            position = text_position(text)
            if is_listed_here and not is_inside_or_allowed(self._project, self._target, text):
                result.findings.append(build_outside_finding(text, self._project, position))
            elif link_finding := self._find_outside_link(path, text):
                result.findings.append(link_finding)
            elif os.path.isdir(path):  # noqa: PTH112 - also for names that no file can have
                folder = Path(os.path.normpath(path))
                for file in self._folder(folder, result.findings).manifests():
                    result.add(file, is_listed=False)
            elif os.path.exists(path):  # noqa: PTH110
                result.add(Path(os.path.normpath(path)), is_listed=True)
            else:
                detail = f"`{text}` is listed under `manifests:` but does not exist"
                hint = "create it, or remove it from the list"
                result.findings.append(
                    error_finding("No such file or folder", detail, hint, position=position)
                )
        return result

    def folders_without_manifests(self) -> list[str]:
        """The folders to read, as written, in which no file has a manifest's name."""
        return [
            text
            for text, path in self._resolved()
            if path.is_dir() and not any(self._folder(path, []).manifests())
        ]

    def _folder(self, path: Path, findings: list[Diagnostic]) -> _Folder:
        return _Folder(path, self._project, findings, is_flat=self._is_flat)

    def would_read(self, path: Path) -> bool:
        """Whether a new file at this real path would be read as a manifest."""
        if not is_manifest_name(path.name) or _is_list_of_targets(self._project, str(path)):
            return False
        for _, folder in self._resolved():
            listed_folder = Path(os.path.realpath(folder))
            if self._is_flat:
                return path.parent == listed_folder
            if listed_folder.is_dir() and path.is_relative_to(listed_folder):
                return not any(map(is_ignored_name, path.relative_to(listed_folder).parts))
        return False

    def reads_folder(self, folder: Path) -> bool:
        """Whether a manifest in this folder would be read."""
        real_folder = os.path.realpath(folder)
        for text, path in self._resolved():
            listed_folder = os.path.realpath(path)
            if self._is_flat:
                return real_folder == listed_folder
            is_allowed = is_inside_or_allowed(self._project, self._target, text)
            if is_allowed and _is_at_or_below(real_folder, listed_folder):
                # An ignored folder on the way hides all that is below it.
                parts_between = Path(real_folder).relative_to(listed_folder).parts
                if not any(map(is_ignored_name, parts_between)):
                    return True
        return False

    def _resolved(self) -> list[tuple[str, Path]]:
        """The files and folders to read, each as written and as a path."""
        folder = Path.cwd() if self._is_typed else self._project.root
        return [(text, folder / text) for text in self.texts]

    def _find_outside_link(self, path: Path, text: str) -> Diagnostic | None:
        """The finding for a path inside the project whose links lead outside; None for others.

        A path typed on the command line may lie outside as written; so may one that is listed
        outside the project under allow_files. A name listed there that lies inside does not count
        here: a pull request could turn it into a link to anywhere.
        """
        root = self._project.root
        try:
            if not is_at_or_below_path(path, root) or not leads_outside_folder(path, root):
                return None
            real_path = os.path.realpath(path)
        except ValueError:  # a name no file can have
            return None
        allowed = [root / name for name in self._target.allow_files]
        outside = [other for other in allowed if not is_at_or_below_path(other, root)]
        if not self._is_typed and real_path in map(os.path.realpath, outside):
            return None
        return _outside_link_finding(path, self._project).with_changes(position=text_position(text))


class _Folder(FolderTree):
    """A listed folder on disk; what must not count as removed manifests is reported."""

    def __init__(
        self, top: Path, project: Project, findings: list[Diagnostic], *, is_flat: bool = False
    ) -> None:
        super().__init__(top)
        self._is_flat = is_flat
        self._folder = top
        self._project = project
        self._findings = findings

    def manifests(self) -> Iterator[Path]:
        for entry in iter_manifests(self.entries, "", self._is_refused):
            yield self._folder / entry.path

    def entries(self, folder: str) -> list[Entry]:
        """The entries of a folder, sorted by name; none of one that cannot be read."""
        try:
            entries = super().entries(folder)
        except UnreadableError as problem:
            self._report(
                "Unreadable folder", folder, f": {problem.reason}", "check its permissions"
            )
            return []
        # Only an empty folder can be one, so that `.gitmodules` is searched rarely.
        if not entries and _is_missing_submodule(self._folder / folder):
            self._report(
                "A Git submodule that is not checked out",
                folder,
                " is empty, but .gitmodules lists it",
                "run `git submodule update --init`, or let the CI job check out submodules",
            )
        return entries

    def _is_refused(self, entry: Entry) -> bool:
        if entry.kind in (EntryKind.FOLDER, EntryKind.SUBMODULE):
            return self._is_flat
        path, is_link = self._folder / entry.path, entry.kind is EntryKind.LINK
        # Following it could loop or leave the project, and skipping it would take what it declares
        # for removed.
        if is_link and os.path.isdir(path):  # noqa: PTH112 - False for one that leads to itself
            self._report(
                "A linked folder among the manifests",
                entry.path,
                f" is a link to a folder, {os.path.realpath(path)}, and the tool does not "
                "follow such links",
                "replace the link with the folder, or list the folder's real path under "
                "`manifests:`",
            )
            return True
        if not is_manifest_name(path.name) or _is_list_of_targets(self._project, str(path)):
            return True
        # One that the system does not follow cannot be read, and its chain may be as long as a
        # commit makes it.
        leads_outside = (
            is_link
            and not _is_endless_link(path)
            and leads_outside_folder(path, self._project.root)
        )
        if leads_outside:
            self._findings.append(_outside_link_finding(path, self._project))
        return leads_outside

    def _report(self, summary: str, path: str, detail: str, hint: str) -> None:
        name = format_display_path(self._folder / path, str(Path.cwd()))
        self._findings.append(error_finding(summary, name + detail, hint))


def _is_endless_link(path: Path) -> bool:
    try:
        path.stat()
    except OSError as problem:
        return problem.errno == errno.ELOOP
    return False


def iter_manifests(
    entries: Callable[[str], list[Entry]], folder: str, is_refused: Callable[[Entry], bool]
) -> Iterator[Entry]:
    """The files below a folder that have a manifest's name, sorted by name in each folder.

    `entries` gives those of a folder; `is_refused` leaves one out and may report it.
    """
    # Sorted, since findings follow the order.
    for entry in sorted(entries(folder), key=lambda entry: posixpath.basename(entry.path)):
        name = posixpath.basename(entry.path)
        if is_ignored_name(name) or is_refused(entry):
            continue
        if entry.kind in (EntryKind.FOLDER, EntryKind.SUBMODULE):
            yield from iter_manifests(entries, entry.path, is_refused)
        elif is_manifest_name(name):
            yield entry


def is_ignored_name(name: str) -> bool:
    """Whether a file or folder of this name is skipped inside of a folder."""
    return name.startswith(".") or name in _IGNORED_NAMES


def is_manifest_name(name: str) -> bool:
    """Whether a file of this name inside of a folder is read as a manifest."""
    return name.endswith(_MANIFEST_SUFFIXES) and name != FILE_NAME


def _is_list_of_targets(project: Project, path: str) -> bool:
    """Whether `targets_from` of the project names the file at this path."""
    return path.removeprefix(os.path.join(project.root, "")) in project.list_files  # noqa: PTH118


def _is_missing_submodule(empty_folder: Path) -> bool:
    """Whether an empty folder is where the checkout above it has a submodule.

    Git tracks no empty folder, and leaves one in the place of a submodule that is not checked out.
    `.gitmodules` lists its path (gitmodules(5)).
    """
    folder = empty_folder.resolve()
    for parent in folder.parents:
        try:
            submodule_paths = read_submodule_paths(parent)
        except OSError:
            continue
        # The nearest `.gitmodules` decides: one further up lists the submodules of its own
        # repository.
        return folder.relative_to(parent).as_posix() in submodule_paths
    return False


def _outside_link_finding(path: Path, project: Project) -> Diagnostic:
    name = format_display_path(path, str(Path.cwd()))
    return error_finding(
        "Path outside the project",
        f"{name} is a link to {os.path.realpath(path)}, outside {project.root}",
        "replace the link with the file",
    )


def is_inside_or_allowed(project: Project, target: Target, text: str) -> bool:
    """Whether a path written in the project lies inside it, or is listed under allow_files.

    Links are not followed: where the path leads is checked by who opens it.
    """
    root = os.path.normpath(project.root)
    path = os.path.normpath(Path(root, text))
    if _is_at_or_below(path, root):
        return True
    return any(path == os.path.normpath(Path(root, name)) for name in target.allow_files)


def _is_at_or_below(path: str, folder: str) -> bool:
    # With the separator, so that `/a/bc` is not below `/a/b`.
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def build_outside_finding(
    text: str, project: Project, position: Position | None = None
) -> Diagnostic:
    """The finding for a path that leaves the project."""
    return error_finding(
        "Path outside the project",
        f"`{text}` lies outside {project.root}",
        "move it inside, or list it under allow_files in synapse-apply.yaml",
        position=position,
    )


def format_display_path(path: Path, folder: str) -> str:
    """A file's path for messages: relative to the working folder `folder` where inside it."""
    text = str(path)
    return text[len(folder) + 1 :] if text.startswith(folder + os.sep) else text


# Which `valueFrom` a project's files hold, found by searching their text without parsing it.
#
# For commands that read no manifests and still must mask their secrets in what a server answers:
# reading 1,000 manifests takes 0.4 s, searching their text a tenth of it. A reference too many does
# no harm: the allow-lists decide what is read, and a known value is only masked. Files that have
# escapes, or comments and aliases behind a `valueFrom`, are read as well.

# The name follows `valueFrom` closely; a bound keeps the search linear whatever a file holds.
_MAX_DISTANCE = 1000
# Comments, anchors, aliases, block scalars, explicit keys.
_UNSURE = re.compile(rb"[#&*>|?]")
_KEY = r"""(?:^|[\s{,"'])%s["']?[ \t]*:\s*"""
_PLAIN = r"""[^\s"',{}\[\]#](?:\{[^}\n]*\}|[^,}\]#\n])*"""
_SCALAR = rf"""("(?:[^"\\\n]|\\.)*"|'(?:[^'\n]|'')*'|{_PLAIN})"""
_NAMED_SOURCES = [source for source in SECRET_SOURCES.values() if source.is_read]
_SCALAR_SOURCE = lazy_pattern(
    _KEY % f"({'|'.join(source.name for source in _NAMED_SOURCES if not source.required_keys)})"
    + _SCALAR
)
_MAPPING_SOURCES = tuple(
    (source, re.compile(_KEY % source.name)) for source in _NAMED_SOURCES if source.required_keys
)
_AS_JSON = lazy_pattern(_KEY % "format" + r"""["']?json\b""")


def scan_secret_refs(project: Project, target: Target) -> set[SecretRef]:
    """The variables and files that the project's files seem to name for secrets of one target.

    Files that cannot be read are skipped. Without a project file there is the embedded backend
    alone, and nothing says which of the folder's files are manifests.
    """
    if project.file is None:
        return set()
    values = VariableValues(project, target, {})
    refs: set[SecretRef] = set()
    for file in (project.file, *ManifestPaths(project, target).collect().files):
        content = b""
        with suppress(OSError):
            content = read_regular_file(file)
        for source, written, forms in (*_search_references(content), *_read_references(content)):
            # A text in which a variable has no value on this target stays as it is.
            filled = substitute_variables(written, values, lambda *_finding: None, (), set())
            for form in forms:
                ref = build_reference_or_none_if_malformed(source, filled, form)
                refs.update([ref] if ref is not None else [])
    return refs


def _search_references(content: bytes) -> Iterator[tuple[SecretSource, Any, Sequence[str]]]:
    """What a file seems to name, whatever it is: a source, what is below it, its forms."""
    # Most files name no secret, and are not decoded. Each piece begins behind one `valueFrom`.
    for piece in content.split(VALUE_FROM.encode())[1:]:
        text = piece.decode(errors="replace")[:_MAX_DISTANCE]
        # Both forms are given, as `format: json` may belong to a neighbour, and a value too
        # many is only masked.
        forms = ("text", "json") if _AS_JSON.search(text) else ("text",)
        for source, written in _sources_with_arguments(text):
            yield source, written, forms


def _read_references(content: bytes) -> Iterator[tuple[SecretSource, Any, Sequence[str]]]:
    """What a file names whose YAML has a form that the search may take for another one."""
    pieces = content.split(VALUE_FROM.encode())[1:]
    if b"\\" not in content and not any(_UNSURE.search(one[:_MAX_DISTANCE]) for one in pieces):
        return
    documents = read_documents(content.decode(errors="replace"), "").documents
    remaining: list[Any] = [document.value for document in documents]
    while remaining:
        value = remaining.pop()
        if isinstance(value, Mapping):
            remaining += value.values()
            named = value.get(VALUE_FROM)
            for name, written in named.items() if isinstance(named, Mapping) else ():
                source = SECRET_SOURCES.get(name)
                if source is not None and source.is_read:
                    yield source, written, ("text", "json")
        elif isinstance(value, list):
            remaining += value


def _sources_with_arguments(following_text: str) -> Iterator[tuple[SecretSource, Any]]:
    """The sources that a text names, with what stands below their keys."""
    for source, pattern in _MAPPING_SOURCES:
        if match := pattern.search(following_text):
            block, following_text = following_text[match.end() :], following_text[: match.end()]
            keys = (*source.required_keys, *source.optional_keys)
            scalars = [(key, re.search(_KEY % key + _SCALAR, block)) for key in keys]
            yield source, {key: _unquote_scalar(found[1]) for key, found in scalars if found}
    if match := _SCALAR_SOURCE.search(following_text):
        yield SECRET_SOURCES[match[1]], _unquote_scalar(match[2])


def _unquote_scalar(scalar: str) -> str:
    """The text of a YAML scalar without its quotes; escapes as JSON has them."""
    if scalar.startswith('"'):
        with suppress(ValueError):
            return str(json.loads(scalar))
        return scalar[1:-1]
    return scalar[1:-1].replace("''", "'") if scalar.startswith("'") else scalar.strip()


# All settings but these come from the other revision, so that a setting that is added later is safe
# by default.
# These declare resources, so they are the change itself; all other settings restrict it.
_DECLARING_FIELDS = ("manifests", "variables", "variable_places", "overlays", "row")
_NON_SETTING_FIELDS = {"name", "position", *_DECLARING_FIELDS}
# Where a template changed, it is a setting of each target of its list.
_MAX_NAMES = 20
_PROJECT_SETTINGS = ("default_target", "max_package_size", "providers")


def pin_settings(project: Project, rules: Project, revision: str) -> Project:
    """The declarations of `project` under the settings of `rules`, its file at a revision.

    Targets are those that both have. Settings that differ are a warning in `findings`. What either
    names for credentials is reserved: a change must not make one readable by no longer naming it.
    """

    def build_pinned_target(name: str) -> Target:
        own_target, ruling_target = project.targets[name], rules.targets[name]
        return replace(
            ruling_target,
            opened=(*ruling_target.allow_env, *ruling_target.allow_files),
            **{setting: getattr(own_target, setting) for setting in _DECLARING_FIELDS},
        )

    shared = [name for name in project.targets if name in rules.targets]
    warnings = _ignored_settings(project, rules, revision)
    return replace(
        project,
        targets=LazyTargets(shared, build_pinned_target),
        findings=(*project.findings, *warnings),
        reserved=rules.reserved.merge_preferring_own(project.reserved),
        # A change that brings the first one is planned before it is merged. It gives no rights.
        id=rules.id or project.id,
        **{name: getattr(rules, name) for name in _PROJECT_SETTINGS}
        | {"providers": {n: replace(p, doubted=frozenset()) for n, p in rules.providers.items()}},
    )


def _ignored_settings(project: Project, rules: Project, revision: str) -> Iterator[Diagnostic]:
    differing = list(_differing_settings(project, rules))
    if not differing:
        return
    names = format_short_list((name for name, _ in differing), _MAX_NAMES)
    positions = [position for _, position in differing if position is not None]
    if not positions and project.file:
        positions = [Position(format_display_path(project.file, str(Path.cwd())), 1, 1)]
    yield warning_finding(
        "Changed settings in the project file are ignored",
        f"{names}: the plan uses the settings of {revision}, not the settings in this checkout.",
        "The new settings apply after the merge. Manifests, variables and overlays come from "
        "this checkout.",
        position=min(positions, default=None),
    )


def _differing_settings(project: Project, rules: Project) -> Iterator[tuple[str, Position | None]]:
    """The name of each setting that differs, and the position of its target in `project`."""
    if rules.id and rules.id != project.id:
        yield "project.id", None
    for name in _PROJECT_SETTINGS:
        if getattr(project, name) != getattr(rules, name):
            yield name, None
    for name in dict.fromkeys((*project.targets, *rules.targets)):
        own, ruling = project.targets.get(name), rules.targets.get(name)
        position = own.position if own else None
        # A target without a position is declared nowhere.
        if bool(position) != bool(ruling and ruling.position):
            yield f"targets.{name}", position
        elif own is not None and ruling is not None:
            # All fields but these, so that a setting that is added later is compared as well.
            for setting in [each.name for each in fields(Target)]:
                values = getattr(own, setting), getattr(ruling, setting)
                if values[0] == values[1] or setting in _NON_SETTING_FIELDS:
                    continue
                if setting != "source_settings":
                    yield f"targets.{name}.{setting}", position
                    continue
                # The project file has each source under its own name.
                for source in {**values[0], **values[1]}:
                    if values[0].get(source) != values[1].get(source):
                        yield f"targets.{name}.{source}", position


# These are the YAML files in folders that only other targets list as manifests, and the lists of
# `targets_from`. A controller leaves them out of what it compares for a target, so nothing else of
# that target may be read from them.
# Such a file makes a package of its folder.
_PACKAGE_NAMES = ("config.yaml", "synapse.yaml")


def innermost_folder(path: str, names: Collection[str]) -> str:
    """The deepest of the folders (or files) `names` that a path is at or below; "" for none."""
    while path:
        if path in names:
            return path
        path = path.rpartition("/")[0]
    return ""


def is_nothing_but_manifest(path: str, folder: str) -> bool:
    """Whether a file at or below a folder of manifests can be nothing else, by its name."""
    inner_path = path.removeprefix(folder).lstrip("/") or posixpath.basename(folder)
    parts = inner_path.split("/")
    return (
        parts[-1].endswith(_MANIFEST_SUFFIXES)
        and parts[-1] not in _PACKAGE_NAMES
        and not any(part.startswith(".") for part in parts)
    )


def explain_file_of_others(path: str, project: Project, target: Target) -> str:
    """Why a file of the project is none of a target's, as the end of a sentence; "" where it is."""
    path = posixpath.normpath(path)
    if path in map(posixpath.normpath, project.list_files):
        return "is a list of targets"
    folder = innermost_folder(path, project.manifest_folders)
    if not folder or not is_nothing_but_manifest(path, folder):
        return ""
    own = project.list_manifest_folders(target)
    if "." in own or any(f"{folder}/".startswith(f"{name}/") for name in own):
        return ""
    return f"is in {folder}, which only other targets list under `manifests:`"
