"""Which values `--var` and `--var-file` give to the variables that a project declares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from synapse_apply.manifests.decode.variables import parse_variable_text
from synapse_apply.manifests.yaml.reader import parse_single_mapping
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.phrases import suggest_words
from synapse_apply.model.project import Project


def parse_given_variables(
    project: Project, assignments: Sequence[str] = (), files: Sequence[tuple[str, bytes]] = ()
) -> tuple[dict[str, Any], tuple[Diagnostic, ...]]:
    """The variables of `--var NAME=VALUE` and of each `--var-file` (its name and content).

    Later files win over earlier ones, and `--var` over all. Returns the values and the findings.
    """
    values: dict[str, Any] = {}
    findings: list[Diagnostic] = []
    for display_name, data in files:
        _merge_variable_file(project, display_name, data, values, findings)
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        variable = project.variables.get(name)
        if not equals or not name:
            findings.append(
                error_finding("Malformed --var", "--var takes NAME=VALUE", "write --var NAME=VALUE")
            )
        elif variable is None:
            findings.append(
                error_finding(
                    "Undeclared variable",
                    f"--var {name}: no variable `{name}` is declared",
                    suggest_words(name, project.variables) or "declare it under `variables:`",
                )
            )
        else:
            value, finding = parse_variable_text(variable, text)
            if finding is None:
                values[name] = value
            else:
                findings.append(finding)
    return values, tuple(findings)


def _merge_variable_file(
    project: Project,
    display_name: str,
    data: bytes,
    values: dict[str, Any],
    findings: list[Diagnostic],
) -> None:
    mapping, positions, problems = parse_single_mapping(data, display_name)
    findings.extend(problems)
    for name, value in mapping.items():
        if name in project.variables:
            values[name] = value
        else:
            findings.append(
                error_finding(
                    "Undeclared variable",
                    f"no variable `{name}` is declared",
                    suggest_words(name, project.variables) or "declare it under `variables:`",
                    position=positions.get((name,)),
                )
            )
