"""What is written down: the tool itself, the project file, the manifests."""

from __future__ import annotations

import platform
from collections.abc import Iterator

from synapse_apply import __version__
from synapse_apply.model.checkup import Row
from synapse_apply.model.diagnostic import Diagnostic, Severity, error, warning
from synapse_apply.model.errors import InputError, SynapseApplyError
from synapse_apply.session.checks.patient import Patient
from synapse_apply.session.declare import shown


def tool(_patient: Patient) -> Iterator[Row]:
    """Which version of what runs."""
    python = f"Python {platform.python_version()}"
    system = f"{platform.system()} {platform.machine()}"
    yield Row.ok("tool", f"synapse-apply {__version__}, {python} on {system}")


def project(patient: Patient) -> Iterator[Row]:
    """The project file, with each of its errors."""
    found = patient.project.get()
    yield Row.ok("project", shown(found.file) if found.file else "none here or above")


def repository(patient: Patient) -> Iterator[Row]:
    """Which Git repository answers for what has a Git ref."""
    # Here, not above: most commands name no Git ref.
    from synapse_apply.packages.git import head_of
    from synapse_apply.packages.repository import repository_of

    root = patient.project.needed().root
    try:
        here = repository_of(root)
        head = head_of(root)[:7] if here else ""
    except InputError as problem:
        yield from (
            Row.of("repository", one.with_(severity=Severity.WARNING))
            for one in problem.diagnostics
        )
        return
    if here is None:
        yield Row.ok("repository", "no Git repository here or above")
        return
    place = here.prefix_of(root)
    parts = (
        f"{here.top} at {head}" if head else f"{here.top}, no commit yet",
        f"the project is in {place}" if place else "",
        "a shallow clone, which lacks older commits" if here.is_shallow else "",
    )
    yield Row.ok("repository", ", ".join(part for part in parts if part))


def target(patient: Patient) -> Iterator[Row]:
    """Which target is meant."""
    yield Row.ok("target", patient.target.get().name)


def manifests(patient: Patient) -> Iterator[Row]:
    """Whether they are valid, in one line: `validate` shows each finding."""
    name = patient.target.needed().name
    try:
        declared = patient.declared.get()
    except SynapseApplyError as problem:
        yield from _summary(name, problem.diagnostics)
        return
    count = len(declared.desired)
    if declared.diagnostics:
        yield from _summary(name, declared.diagnostics)
    elif count:
        yield Row.ok("manifests", f"{_counted(count, 'resource')} declared")
    else:
        finding = warning(
            "No manifest declares anything",
            "Apply would forget whatever the state records.",
            "Begin with `synapse-apply init`, or check `manifests:` in the project file.",
        )
        yield Row.of("manifests", finding)


def _summary(target: str, found: tuple[Diagnostic, ...]) -> Iterator[Row]:
    errors = sum(one.is_error for one in found)
    first = next((one for one in found if one.is_error), found[0])
    place = f" ({first.position})" if first.position else ""
    text = f"{'The first' if len(found) > 1 else 'It is'}: {first.summary}{place}. {first.detail}"
    hint = f"`synapse-apply validate -t {target}` shows every one."
    count = _counted(errors, "error") if errors else _counted(len(found), "warning")
    finding = (error if errors else warning)(f"The manifests have {count}", text, hint)
    yield Row.of("manifests", finding, behind=found)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
