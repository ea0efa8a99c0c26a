"""Which targets `-t` means where it names several: patterns, labels, or more than one name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from synapse_apply.manifests.project.targets import list_declared_target_names
from synapse_apply.model.address import matches_pattern
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.phrases import (
    find_word_with_same_prefix_or_closest_or_empty,
    suggest_closest_or_list_known_words_or_empty,
)
from synapse_apply.model.project import EMBEDDED, Project, may_name_several_targets


def select_target_names(project: Project, selectors: Sequence[str]) -> tuple[str, ...]:
    """The targets that any of the selectors means, each once; InputError for all that mean none.

    A selector is a name, a pattern with `*`, a label as KEY=VALUE, or several of these with commas
    between, all of which must hold. Targets come in the order of the selectors, and of one pattern
    by name. A pattern means declared targets only.
    """
    selected: dict[str, None] = {}
    findings: list[Diagnostic] = []
    for selector in selectors:
        names = sorted(_iter_matching_names(project, selector))
        if not names:
            findings.append(_build_no_match_finding(project, selector))
        selected.update(dict.fromkeys(names))
    if findings:
        raise InputError(*findings)
    return tuple(selected)


def list_target_labels(project: Project) -> list[str]:
    """Every label of a declared target, as KEY=VALUE."""
    targets = (project.targets[name] for name in list_declared_target_names(project))
    return sorted({f"{key}={value}" for target in targets for key, value in target.labels.items()})


def _iter_matching_names(project: Project, selector: str) -> Iterator[str]:
    if selector == EMBEDDED:
        yield EMBEDDED
        return
    conditions = selector.split(",")
    for name in list_declared_target_names(project):
        if all(_holds_for_target(project, name, condition) for condition in conditions):
            yield name


def _holds_for_target(project: Project, name: str, condition: str) -> bool:
    key, equals, value = condition.partition("=")
    if not equals:
        return matches_pattern(name, condition)
    labels = project.targets[name].labels
    return key in labels and matches_pattern(labels[key], value)


def _build_no_match_finding(project: Project, selector: str) -> Diagnostic:
    names = [*list_declared_target_names(project), EMBEDDED]
    if not may_name_several_targets(selector):
        return error_finding(
            "Unknown target",
            f"there is no target `{selector}`",
            suggest_closest_or_list_known_words_or_empty(selector, names),
        )
    known_words = [*names, *list_target_labels(project)]
    match = find_word_with_same_prefix_or_closest_or_empty(selector.replace("*", ""), known_words)
    return error_finding(
        "No target matches",
        f"of {len(names) - 1:,} declared targets none matches `{selector}`",
        f"did you mean `{match}`?"
        if match
        else suggest_closest_or_list_known_words_or_empty("", known_words),
    )
