"""Which rollout and which wave a target belongs to, and what makes that impossible."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from synapse_apply.controller.rows import TargetName
from synapse_apply.controller.rules.targets import TargetAtHead
from synapse_apply.controller.settings import Mode, Rollout, Wave
from synapse_apply.model.diagnostic import Diagnostic, Position, error_finding, warning_finding
from synapse_apply.model.frozen import frozen


@frozen
class AssignedTarget:
    """A target of a rollout: its wave, counted from 1, and the digest of its inputs at the head."""

    name: TargetName
    wave: int
    digest: str


@frozen
class RolloutAssignments:
    """The targets of each rollout by its name, by wave and name, and what is wrong with them.

    With an error among the `findings` no target of the source may be moved. A warning is on
    patterns of names and of labels that match no target.
    """

    targets_by_rollout: Mapping[str, Sequence[AssignedTarget]]
    findings: tuple[Diagnostic, ...] = ()

    @property
    def names_in_any_rollout(self) -> frozenset[TargetName]:
        """Every target that belongs to a rollout."""
        return frozenset(item.name for items in self.targets_by_rollout.values() for item in items)


def wave_digest(rollout: Rollout) -> str:
    """A digest over what tells the targets of the waves apart; equal for the same patterns."""
    patterns = [[list(wave.targets), sorted(wave.labels.items())] for wave in rollout.waves]
    return hashlib.sha256(json.dumps(patterns).encode()).hexdigest()


def find_wave_number_or_none(
    rollout: Rollout, target: str, labels: Mapping[str, str]
) -> int | None:
    """The first wave, counted from 1, that matches a target; None where it is in no wave."""
    numbered = enumerate(rollout.waves, start=1)
    return next((number for number, wave in numbered if matches_wave(wave, target, labels)), None)


def matches_wave(wave: Wave, target: str, labels: Mapping[str, str]) -> bool:
    """Whether one of the wave's patterns matches the target, and all of its labels do."""
    has_name = not wave.targets or any(fnmatchcase(target, pattern) for pattern in wave.targets)
    return has_name and all(
        name in labels and fnmatchcase(labels[name], pattern)
        for name, pattern in wave.labels.items()
    )


def assign_targets_to_waves(
    rollouts: Iterable[Rollout], keyed: Sequence[TargetAtHead]
) -> RolloutAssignments:
    """The targets of a head by rollout and wave; `rollouts` are those of the head's source."""
    assigned: dict[str, list[AssignedTarget]] = {}
    findings: list[Diagnostic] = []
    owners: dict[TargetName, Rollout] = {}
    for rollout in rollouts:
        waves = {
            target.name: wave
            for target in keyed
            if (wave := find_wave_number_or_none(rollout, target.name.target, target.labels))
            is not None
        }
        assigned[rollout.name] = sorted(
            (
                AssignedTarget(target.name, waves[target.name], target.digest)
                for target in keyed
                if target.name in waves
            ),
            key=lambda item: (item.wave, item.name),
        )
        findings.extend(_shared_targets(rollout, waves, owners))
        findings.extend(_unfit_targets(rollout, waves, keyed))
        findings.extend(_empty_patterns(rollout, keyed))
        owners |= dict.fromkeys(waves, rollout)
    return RolloutAssignments(assigned, tuple(findings))


def _shared_targets(
    rollout: Rollout, waves: Mapping[TargetName, int], owners: Mapping[TargetName, Rollout]
) -> Iterator[Diagnostic]:
    for name, wave in waves.items():
        if name in owners:
            yield error_finding(
                "A target in two rollouts",
                f"{name} belongs to rollout `{owners[name].name}` and to `{rollout.name}`",
                "narrow `targets` or `labels` of the waves of one of them",
                position=_get_wave_position(rollout, wave),
            )


def _unfit_targets(
    rollout: Rollout, waves: Mapping[TargetName, int], keyed: Sequence[TargetAtHead]
) -> Iterator[Diagnostic]:
    """Targets that cannot do what their wave asks of them."""
    for target in keyed:
        wave = waves.get(target.name)
        if wave is None:
            continue
        position = _get_wave_position(rollout, wave)
        if target.rule.mode is Mode.OBSERVE:
            yield error_finding(
                "A target in mode observe is in a rollout",
                f"wave {wave} of rollout `{rollout.name}` has {target.name}, which rule "
                f"`{target.rule.pattern}` only observes: it would never have what the wave brings",
                "give it mode auto or approve, or leave it out of the waves",
                position=position,
            )
        for required in target.require_verified:
            required_wave = waves.get(target.name._replace(target=required))
            if required_wave is not None and required_wave >= wave:
                order = "the same wave" if required_wave == wave else f"wave {required_wave}"
                yield error_finding(
                    "A target waits for one of a later wave",
                    f"{target.name} is in wave {wave} of rollout `{rollout.name}` and takes only "
                    f"what was verified in {required} (`require_verified`), which is in {order}",
                    f"put {required} into an earlier wave than {target.name.target}",
                    position=position,
                )


def _empty_patterns(rollout: Rollout, keyed: Sequence[TargetAtHead]) -> Iterator[Diagnostic]:
    for number, wave in enumerate(rollout.waves, start=1):
        for pattern in wave.targets:
            if not any(fnmatchcase(target.name.target, pattern) for target in keyed):
                yield warning_finding(
                    "A pattern that matches no target",
                    f"wave {number} of rollout `{rollout.name}`: `{pattern}`",
                    "the project file at the head declares no such target; is it misspelt?",
                    position=_get_wave_position(rollout, number),
                )
        for label, pattern in wave.labels.items():
            values = {target.labels[label] for target in keyed if label in target.labels}
            if not any(fnmatchcase(value, pattern) for value in values):
                yield warning_finding(
                    "A label that no target has",
                    f"wave {number} of rollout `{rollout.name}`: `{label}: {pattern}`",
                    "the project file at the head gives no target such a label; is it misspelt?",
                    position=_get_wave_position(rollout, number),
                )


def _get_wave_position(rollout: Rollout, wave: int) -> Position | None:
    return rollout.waves[wave - 1].position or rollout.position
