"""What is wrong with `rollouts`: unknown sources, waves and patterns that no target comes to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import combinations

from synapse_apply.controller.configuration.placed_findings import FindingBuilder
from synapse_apply.controller.rules.targets import find_rule
from synapse_apply.controller.settings import Controller, Mode, Rollout, Source, Wave
from synapse_apply.model.diagnostic import Diagnostic, FieldPath
from synapse_apply.model.phrases import suggest_name

_WILDCARDS = frozenset("*?[")


def iter_rollout_findings(controller: Controller, findings: FindingBuilder) -> Iterator[Diagnostic]:
    """Errors and warnings on rollouts, as far as the file itself shows them.

    Which targets there are a commit says: what is wrong with those is found at each head.
    """
    for rollout in controller.rollouts.values():
        source = controller.sources.get(rollout.source)
        if source is None:
            yield _no_source(controller, rollout, findings)
        for index, wave in enumerate(rollout.waves):
            path: FieldPath = ("rollouts", rollout.name, "waves", index)
            if wave.max_parallel is not None and wave.max_failures >= wave.max_parallel:
                yield findings.build_warning(
                    (*path, "max_failures"),
                    "Failures that are never reached",
                    f"{wave.max_parallel} at a time are changed, and none follows one that fails: "
                    "no more "
                    "than these ever fail, and the wave waits for them",
                    "let `max_failures` be less than `max_parallel`",
                )
            yield from _unfit_targets(wave, path, source, findings)
            yield from _repeated_targets(wave, rollout.waves[:index], path, findings)
    for first, second in combinations(controller.rollouts.values(), 2):
        if first.source == second.source:
            yield from _shared_targets(first, second, findings)


def _no_source(controller: Controller, rollout: Rollout, findings: FindingBuilder) -> Diagnostic:
    path: FieldPath = ("rollouts", rollout.name)
    names = ", ".join(controller.sources)
    if not rollout.source:
        return findings.build_error(
            path,
            "Which source?",
            f"the targets of a rollout are those of one source, and there are several: {names}",
            "write `source: NAME`",
        )
    return findings.build_error(
        (*path, "source"),
        "Unknown source",
        f"there is no source `{rollout.source}`",
        suggest_name(rollout.source, controller.sources, f"write one of sources: {names}"),
    )


def _unfit_targets(
    wave: Wave, path: FieldPath, source: Source | None, findings: FindingBuilder
) -> Iterator[Diagnostic]:
    """Patterns that never match, or that match what is only observed."""
    for index, pattern in enumerate(wave.targets):
        pattern_path: FieldPath = (*path, "targets", index)
        if "/" in pattern:
            yield findings.build_error(
                pattern_path,
                "Not the name of a target",
                f"`{pattern}`: names of targets have no `/`, and the source is that of the rollout",
                "write it without SOURCE/",
            )
        elif source is not None and _WILDCARDS.isdisjoint(pattern):
            rule = find_rule(source, pattern)
            if rule is None:
                yield findings.build_warning(
                    pattern_path,
                    "A target that is left alone",
                    f"no rule of source {source.name} matches `{pattern}`",
                    f"write one: sources.{source.name}.targets",
                )
            elif rule.mode is Mode.OBSERVE:
                yield findings.build_error(
                    pattern_path, *_observed_texts(f"`{pattern}`", f"rule `{rule.pattern}` only")
                )
    if source is not None and all(rule.mode is Mode.OBSERVE for rule in source.rules):
        yield findings.build_error(
            path, *_observed_texts(f"each target of {source.name}", "its rules only")
        )


def _observed_texts(subject: str, rules: str) -> tuple[str, str, str]:
    """Summary, detail and hint for what is in a wave and never applied."""
    return (
        "A target in mode observe is in a rollout",
        f"{subject}: {rules} observe it, and it would never have what the wave brings",
        "give it mode auto or approve, or leave it out of the waves",
    )


def _repeated_targets(
    wave: Wave, earlier: Sequence[Wave], path: FieldPath, findings: FindingBuilder
) -> Iterator[Diagnostic]:
    """Waves, and patterns of them, whose targets all belong to an earlier wave."""
    hint = "put it before that one; a target belongs to the first that matches it"
    owners = [
        next(
            (i for i, other in enumerate(earlier, start=1) if _surely_covers(other, wave, pattern)),
            None,
        )
        for pattern in _list_patterns_or_star(wave)
    ]
    if None not in owners:
        names = " and ".join(f"wave {owner}" for owner in sorted(set(filter(None, owners))))
        yield findings.build_error(
            path,
            "A wave that no target comes to",
            f"its targets belong to {names}, which stands before it",
            hint,
        )
        return
    for index, owner in enumerate(owners):
        if owner is not None:
            yield findings.build_warning(
                (*path, "targets", index),
                "A pattern that never matches",
                f"`{wave.targets[index]}`: wave {owner} stands before it and matches these targets",
                hint,
            )


def _shared_targets(
    first: Rollout, second: Rollout, findings: FindingBuilder
) -> Iterator[Diagnostic]:
    """Targets that are surely in two rollouts, if there are any."""
    for index, wave in enumerate(second.waves):
        if any(
            (
                any(
                    _surely_covers(wave, other, pattern)
                    for pattern in _list_patterns_or_star(other)
                )
                or any(
                    _surely_covers(other, wave, pattern) for pattern in _list_patterns_or_star(wave)
                )
            )
            for other in first.waves
        ):
            yield findings.build_error(
                ("rollouts", second.name, "waves", index),
                "A target in two rollouts",
                f"rollout `{first.name}` has a wave that matches the same targets",
                "narrow `targets` or `labels` of one of them",
            )


def _surely_covers(wave: Wave, other: Wave, pattern: str) -> bool:
    """Whether a wave surely matches each target that another one has by one of its patterns."""
    has_labels = all(other.labels.get(name) == text for name, text in wave.labels.items())
    # Where `*` is the only wildcard, what matches the text of a pattern matches all of it.
    simple = [text for text in _list_patterns_or_star(wave) if not set(text) & set("?[")]
    return has_labels and any(fnmatchcase(pattern, text) for text in simple)


def _list_patterns_or_star(wave: Wave) -> tuple[str, ...]:
    return wave.targets or ("*",)
