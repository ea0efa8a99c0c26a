"""How a script says which target it means: the options that commands have for all that they do."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from synapse_apply.library.target import OpenTarget
from synapse_apply.model.frozen import replace
from synapse_apply.model.json_types import JsonDocument
from synapse_apply.model.secrets.secret_marks import ReadableFiles
from synapse_apply.operations import connection
from synapse_apply.workspace.invocation import Invocation, ProjectMemory


@contextmanager
def open_target(
    target: str | None = None,
    *,
    folder: Path | str = ".",
    project: Path | str | None = None,
    files: Sequence[Path | str] = (),
    variables: Mapping[str, str] | None = None,
    var_files: Sequence[Path | str] = (),
    strict: bool = False,
    environ: Mapping[str, str] | None = None,
    parallelism: int = 10,
    lock_timeout: float | None = None,
    project_from: str = "",
    ref: str = "",
) -> Iterator[OpenTarget]:
    """A target to plan and apply; closed at the end of the `with` block.

    Nothing is read before the first method needs it. The options are those of the command line.

    - `target`: a target of the project file (default: its default target or its only target)
    - `folder`: where the upward search for the project file begins; all other paths are relative
      to it
    - `project`: the project file, instead of the search from `folder` (`--project`)
    - `files`: manifests or folders of manifests, instead of the project's manifests (`-f`)
    - `variables`: values of variables, as strings (`--var`)
    - `var_files`: YAML files of values (`--var @FILE`)
    - `strict`: warnings of manifests are errors (`--strict`)
    - `environ`: the source of credentials, secrets and state keys, instead of `os.environ`
    - `parallelism`: the number of parallel calls (`--parallelism`)
    - `lock_timeout`: seconds to wait for a locked state (default: 45) (`--lock-timeout`)
    - `project_from`: a Git ref of the settings, without `git:` (`--project-from`)
    - `ref`: a Git ref of the manifests and package sources (`--ref`)

    Every error is a SynapseApplyError. What the `with` block itself raises passes unchanged.
    """
    invocation = _build_invocation(
        folder, project, files, variables, var_files, environ, parallelism, lock_timeout,
        target=target, strict=strict, project_from=project_from, as_of=ref,
    )  # fmt: skip
    with closing(OpenTarget(invocation)) as opened_target:
        yield opened_target


def open_targets(
    names: Sequence[str],
    *,
    folder: Path | str = ".",
    project: Path | str | None = None,
    files: Sequence[Path | str] = (),
    variables: Mapping[str, str] | None = None,
    var_files: Sequence[Path | str] = (),
    strict: bool = False,
    environ: Mapping[str, str] | None = None,
    parallelism: int = 10,
    lock_timeout: float | None = None,
    project_from: str = "",
    ref: str = "",
) -> Iterator[OpenTarget]:
    """Several targets, one after the other; each is closed when the next one is asked for.

    `names` are names of targets, patterns with `*`, labels as KEY=VALUE, or several of these with
    commas between, all of which must hold. Targets come in this order, and those of one pattern by
    name. The project file is read once for all of them; InputError before the first where it cannot
    be used, and for each of `names` that means no target. All else is as in `open_target`.
    """
    invocation = _build_invocation(
        folder, project, files, variables, var_files, environ, parallelism, lock_timeout,
        strict=strict, project_from=project_from, as_of=ref,
    )  # fmt: skip
    for chosen_invocation in invocations_of_targets(
        invocation, connection.require_names("names", names)
    ):
        with closing(OpenTarget(chosen_invocation)) as opened_target:
            yield opened_target


def invocations_of_targets(invocation: Invocation, names: Sequence[str]) -> tuple[Invocation, ...]:
    """An invocation for each target that `names` means, as `open_targets` has them; InputError."""
    from synapse_apply.manifests.project.targets import select_target_names
    from synapse_apply.workspace.configuration import load_valid_project_or_defaults

    # None of them is meant by another invocation's target.
    shared = replace(invocation, target=None, project_memory=ProjectMemory())
    chosen_names = select_target_names(load_valid_project_or_defaults(shared), names)
    return tuple(replace(shared, target=name) for name in chosen_names)


def _build_invocation(
    folder: Path | str,
    project: Path | str | None,
    files: Sequence[Path | str],
    variables: Mapping[str, str] | None,
    var_files: Sequence[Path | str],
    environ: Mapping[str, str] | None,
    parallelism: int,
    lock_timeout: float | None,
    **as_they_are: Any,
) -> Invocation:
    directory = connection.require_path("folder", folder, Path.cwd())
    return Invocation(
        directory=directory,
        project=connection.require_path("project", project, directory)
        if project is not None
        else None,
        variables=dict(variables or {}),
        variable_files=connection.require_paths("var_files", var_files, directory),
        paths=connection.require_paths("files", files, directory),
        parallelism=connection.require_count("parallelism", parallelism),
        environ=dict(os.environ if environ is None else environ),
        lock_timeout=None
        if lock_timeout is None
        else connection.require_seconds("lock_timeout", lock_timeout, from_zero=True),
        command="library",
        **as_they_are,
    )


@contextmanager
def open_target_at_commit(
    target: str,
    *,
    folder: Path,
    commit: str,
    environ: Mapping[str, str],
    readable_files: ReadableFiles,
    opened: tuple[str, ...] = (),
    closed: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    project_from: str = "",
    parallelism: int = 10,
) -> Iterator[OpenTarget]:
    """A target as one commit declares it, for a service that does not trust the repository.

    Project file, manifests, packages and the files that they name are read from the full id
    `commit`; nothing is checked out. `folder` is the project's folder of a place that has a `.git`
    and else only what the tool itself keeps there, such as a local state. `environ` is all that
    settings and manifests can name of variables, `readable_files` all that they can name of files
    on this machine; of both, manifests can name none of `closed`, and a
    token of these goes only to its hosts, () for any. `project_from` is as in
    `open_target`, as are the errors.
    """
    invocation = Invocation(
        directory=folder,
        target=target,
        environ=environ,
        parallelism=parallelism,
        lock_timeout=0.0,
        project_from=project_from,
        as_of=commit,
        command="controller",
        without_checkout=True,
        readable_files=readable_files,
        opened=opened,
        closed=closed,
    )
    with closing(OpenTarget(invocation)) as opened_target:
        yield opened_target


def is_saved_plan(file: Path | str) -> bool:
    """Whether a file looks like one that `OpenTarget.save_plan` wrote; False where none is."""
    from synapse_apply.operations.saved_plan_file import is_plan_file

    return is_plan_file(Path(file))


def explain(name: str) -> JsonDocument:
    """What a field, a provider or a rule of packages is: `storage.spec`, `package:version`.

    A name is KIND or KIND.FIELD, also of `project`, `policy` and `package-config`. NameNotFound.
    """
    from synapse_apply.operations.explain import explain as explain_name

    return explain_name(connection.require_text("name", name))
