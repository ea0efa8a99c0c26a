"""Use case: check everything that is written, without backend, credentials or secret values."""

from __future__ import annotations

from synapse_apply.manifests.emptiness import check_not_empty
from synapse_apply.manifests.loading import validate as validate_manifests
from synapse_apply.manifests.targets import targets_to_check
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.frozen import frozen
from synapse_apply.session import declare
from synapse_apply.session.lint import lint
from synapse_apply.session.sources import Sources
from synapse_apply.session.where import Where
from synapse_apply.views.findings import counted


@frozen
class Validated:
    """What was found; `counts` are the declared resources by target."""

    diagnostics: tuple[Diagnostic, ...]
    counts: dict[str, int]

    @property
    def summary(self) -> str:
        """One line for people."""
        parts = [f"{count} resources for {name}" for name, count in self.counts.items()]
        return f"Valid: {', '.join(parts)}{counted(self.diagnostics)}."


def validate(where: Where, *, every_target: bool = True) -> Validated:
    """Check every target, or the one that was named; InputError for what hides all the rest."""
    project = declare.project_of(where)
    targets = targets_to_check(project, None if every_target else where.target)
    sources = Sources(project, environ=where.environ, linted=True)
    loaded, findings = validate_manifests(
        project,
        targets,
        variables=declare.variables_of(where, project),
        strict=where.strict,
        package_config=sources.reader,
        paths=[str(path) for path in where.paths],
    )
    found = dict.fromkeys((*project.findings, *findings))
    counts = {}
    for target, one in zip(targets, loaded, strict=True):
        checked = declare.with_packages(target, one, sources)
        known = set(one.diagnostics)
        found.update(dict.fromkeys(f for f in checked.diagnostics if f not in known))
        counts[target.name] = len(one.desired)
    empty = check_not_empty(project, loaded, [str(path) for path in where.paths])
    linted = (*empty, *lint(project.root, sources, loaded))
    found.update(dict.fromkeys(one.as_strict() if where.strict else one for one in linted))
    sources.keep()
    return Validated(tuple(found), counts)
