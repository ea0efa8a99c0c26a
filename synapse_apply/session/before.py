"""What a commit declared, for a plan that asks nobody else what was there before."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path

from synapse_apply.files.checkout import read_named
from synapse_apply.manifests.project import given_variables
from synapse_apply.model.address import Address
from synapse_apply.model.desired import Desired, Package
from synapse_apply.model.diagnostic import Diagnostic, Severity, warning
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.project import Project, Target
from synapse_apply.model.state import Record
from synapse_apply.packages.git import NOT_HERE, Commit, commit_at, is_unborn
from synapse_apply.packages.ref_memory import fix_refs
from synapse_apply.session import declare
from synapse_apply.session.revisions import written_at
from synapse_apply.session.where import Where


@frozen
class Before:
    """What was declared, under the name that views call it by, and what is to be said of it.

    `compared` is False where it cannot be used, so that nothing is known of it.
    """

    label: str
    declared: Mapping[Address, Desired] = field(default_factory=dict)
    diagnostics: tuple[Diagnostic, ...] = ()
    compared: bool = True


def before_at(where: Where, project: Project, target: Target, ref: str) -> Before:
    """What a Git ref declares by its own project file.

    InputError where the ref cannot be read: what it holds may then be right.
    """
    with fix_refs():
        return _before_at(where, project, target, ref)


def _before_at(where: Where, project: Project, target: Target, ref: str) -> Before:
    if is_unborn(project.root, ref):
        told = warning("Everything counts as new", f"{ref} has no commit yet.")
        return Before(f"git:{ref} (no commit yet)", {}, (told,))
    commit = commit_at(project.root, ref)
    try:
        found, doubts = _declared_at(where, project, target, commit)
    except InputError as problem:
        if any(one.summary == NOT_HERE for one in problem.diagnostics):
            raise
        return Before(f"git:{commit}", {}, _not_compared(commit, problem), compared=False)
    return Before(f"git:{commit}", found, doubts)


def _not_compared(commit: Commit, problem: InputError) -> tuple[Diagnostic, ...]:
    """What is wrong there is no fault of the checkout, which may be what mends it."""
    lead = warning(
        "Nothing was compared",
        f"What is declared at {commit} cannot be used, so that everything counts as new.",
        "What is declared here is valid. If it mends the findings below, plans compare again "
        "once it is committed; a commit that is valid can be named now: --against git:REF.",
    )
    return lead, *(one.with_(severity=Severity.WARNING) for one in problem.diagnostics)


def _declared_at(
    where: Where, project: Project, target: Target, commit: Commit
) -> tuple[Mapping[Address, Desired], tuple[Diagnostic, ...]]:
    """What a commit declares, and what is to be said of it; InputError with what is wrong."""
    then: Project | None = project
    if project.file is not None:
        then = declare.project_at(commit, project.file)
    if then is None:
        name = declare.shown(project.file or project.root)
        return {}, (_all_new(f"{name} is not in {commit.ref}."),)
    same = then.targets.get(target.name)
    if same is None:
        return {}, (_all_new(f"{commit.ref} has no target `{target.name}`."),)
    there = replace(where, as_of=commit.ref, strict=False, paths=_existing(where, project, commit))
    if where.paths and not there.paths:
        return {}, ()
    given, _ = given_variables(
        then, [f"{name}={value}" for name, value in where.variables.items()], _files(where)
    )
    found = declare.declared(there, then, same, given=given)
    if found.loaded.has_errors:
        raise InputError(*(one for one in found.loaded.diagnostics if one.is_error))
    known = set(found.loaded.diagnostics)
    doubts = [one for one in found.diagnostics if one not in known and one not in then.findings]
    return found.desired, tuple(one.with_(severity=Severity.WARNING) for one in doubts)


def _all_new(why: str) -> Diagnostic:
    return warning("Everything counts as new", why, "Compare with a Git ref that has it.")


def _existing(where: Where, project: Project, commit: Commit) -> tuple[Path, ...]:
    """The named manifests that a commit has: the others are new."""
    if not where.paths:
        return ()
    root = project.root.resolve()
    with written_at(commit) as tree:
        return tuple(
            path for path in where.paths if tree.at(os.path.relpath(path, root)) is not None
        )


def _files(where: Where) -> list[tuple[str, bytes]]:
    return [(str(path), read_named(path)) for path in where.variable_files]


def as_checked_out(
    records: Mapping[Address, Record],
    then: Mapping[Address, Desired],
    now: Mapping[Address, Desired],
    root: Path,
) -> tuple[dict[Address, Record], tuple[Diagnostic, ...]]:
    """The records with package files as a checkout of their commit would have them.

    A file that Git takes for what was committed counts as the checkout has it: Git may have
    converted its line ends, and an upload sends what is there.
    """
    made, findings = dict(records), []
    for address, record in records.items():
        old, new = _package(then.get(address)), _package(now.get(address))
        if old is not None and new is not None and old.digest != new.digest:
            made[address], filtered = _converted(record, old, new, root)
            if filtered:
                findings.append(_filtered(address, filtered, new))
    return made, tuple(findings)


def _package(one: Desired | None) -> Package | None:
    return None if one is None else one.package


def _converted(
    record: Record, old: Package, new: Package, root: Path
) -> tuple[Record, frozenset[str]]:
    # Here, not above: few packages differ from what was committed.
    from synapse_apply.packages.content import digest_of
    from synapse_apply.packages.sources import FOLDER, GIT
    from synapse_apply.packages.unmodified import unmodified

    differ = [path for path in old.files.keys() & new.files.keys() if _bytes_differ(path, old, new)]
    if not differ or (old.source.kind, new.source.kind) != (GIT, FOLDER):
        return record, frozenset()
    found = unmodified(old.source, root, new.source.path, sorted(differ))
    known = found.same | found.filtered
    files = {**old.files, **{path: new.files[path] for path in known}}
    return replace(record, files=files, digest=digest_of(files)), found.filtered


def _bytes_differ(path: str, old: Package, new: Package) -> bool:
    """Whether the content alone differs: another executable bit is a change whatever Git says."""
    before, after = old.files[path], new.files[path]
    return before != after and before.endswith(" x") == after.endswith(" x")


def _filtered(address: Address, names: frozenset[str], package: Package) -> Diagnostic:
    return warning(
        "Files behind a Git filter were not compared",
        f"{', '.join(sorted(names))}: the checkout has what the filter made of them, Git what it "
        "was made from.",
        "A plan that asks the backend compares what was published.",
        address=str(address),
        position=package.source.position,
    )
