"""The manifests of one target as a commit has them, not as the folder does."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from synapse_apply.manifests.files import is_inside, is_manifest, is_passed_over, outside
from synapse_apply.manifests.inventory import is_inventory
from synapse_apply.manifests.project import place_of
from synapse_apply.manifests.reader import Reading, read
from synapse_apply.model.diagnostic import Diagnostic, Position, error, warning
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.project import Project, Target


@frozen
class Listed:
    """One name in a folder of a commit: a file, a folder, or what neither is (and why).

    `path` is relative to the project's folder.
    """

    path: str
    is_folder: bool = False
    why_not: str = ""


class Written(Protocol):
    """The project's folder in a commit; paths are relative to it, `.` is itself.

    What lies beside it in the same repository begins with `../`.
    """

    @property
    def name(self) -> str:
        """How messages call the commit."""
        ...

    def holds(self, path: str) -> bool:
        """Whether a path lies in the repository."""
        ...

    def at(self, path: str) -> Listed | None:
        """What stands at a path, or what is on the way to it and has nothing below that is known.

        None only where it is certain that nothing stood there.
        """
        ...

    def below(self, folder: str) -> list[Listed]:
        """What a folder holds, by name."""
        ...

    def content(self, path: str) -> bytes:
        """The bytes of a file, a link followed; InputError."""
        ...


@dataclass(slots=True)
class Committed:
    """What was read; `implicit` when nobody named a folder."""

    readings: list[Reading] = field(default_factory=list)
    findings: list[Diagnostic] = field(default_factory=list)
    implicit: bool = False


def committed(
    project: Project, target: Target, paths: Sequence[str], written: Written
) -> Committed:
    """The readings of a target's manifests, in the order in which the folder would be read.

    `paths` when given (relative to the project's folder), else the project's and the target's,
    else `manifests/` or the project's folder.
    """
    result = Committed()
    named = (*paths,) or (*project.manifests, *target.manifests)
    if not named:
        usual = written.at("manifests")
        result.implicit = usual is None or not usual.is_folder
        named = (".",) if result.implicit else ("manifests",)
    seen: set[str] = set()
    for text in named:
        if not paths and not is_inside(project, target, text):
            result.findings.append(outside(text, project, place_of(text)))
            continue
        for path in _files(text, written, result):
            if path not in seen:
                seen.add(path)
                reading = _read(path, written)
                if path == posixpath.normpath(text) or not is_inventory(reading):
                    result.readings.append(reading)
    return result


def _files(text: str, written: Written, result: Committed) -> Iterator[str]:
    path = posixpath.normpath(text)
    elsewhere = not written.holds(path)
    found = None if elsewhere else written.at(path)
    if found is None and place_of(text) is not None and not elsewhere:
        result.findings.append(_not_yet(text, written))
    elif found is None or found.why_not:
        result.findings.append(_missing(text, written, found, elsewhere=elsewhere))
    elif found.is_folder:
        yield from _walk(path, written, result)
    else:
        yield path


def _walk(folder: str, written: Written, result: Committed) -> Iterator[str]:
    for one in written.below(folder):
        name = posixpath.basename(one.path)
        if is_passed_over(name):
            continue
        if one.why_not:
            result.findings.append(_unfit(one, written))
        elif one.is_folder:
            yield from _walk(one.path, written, result)
        elif is_manifest(name):
            yield one.path


def _read(path: str, written: Written) -> Reading:
    shown = f"{written.name}:{path}"
    try:
        return read(written.content(path), shown)
    except InputError as problem:
        place = Position(shown, 1, 1)
        return Reading((), tuple(one.with_(position=place) for one in problem.diagnostics))


def _missing(text: str, written: Written, found: Listed | None, *, elsewhere: bool) -> Diagnostic:
    if found is not None:
        return _unfit(found, written).with_(position=place_of(text))
    why = f"is not in {written.name}"
    hint = "choose another Git ref, or another path"
    if elsewhere:
        why = f"lies outside the repository, which is all that {written.name} has"
        hint = "keep it in this repository, or leave out the Git ref to read it as it is now"
    return error(
        "No such file or folder at that Git ref",
        f"`{text}` {why}",
        hint,
        position=place_of(text),
    )


def _not_yet(text: str, written: Written) -> Diagnostic:
    """A list of the project file may be younger than the commit."""
    return warning(
        "Listed manifests that are not in that Git ref",
        f"`{text}` is not in {written.name}, so nothing was declared in it",
        "check that it only came later: what it holds now counts as no longer declared",
        position=place_of(text),
    )


def _unfit(one: Listed, written: Written) -> Diagnostic:
    return error(
        "Manifests that cannot be read at a Git ref",
        f"{one.path} in {written.name} {one.why_not}",
        "what it holds would be taken for removed; put the files themselves there",
    )
