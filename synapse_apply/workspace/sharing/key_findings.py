"""What is told of a state key that is missing, or is not the one of a shared state."""

from __future__ import annotations

from collections.abc import Mapping

from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, error_finding, warning_finding
from synapse_apply.model.project import Project, Target
from synapse_apply.model.resource import Desired
from synapse_apply.model.state import State
from synapse_apply.model.values import Mac, SecretRef, flatten
from synapse_apply.secrets.keys import KEY_VARIABLE, StateKeys, format_key_variable_name_of_target
from synapse_apply.workspace.sharing.key_sources import KeySources, build_state_key_path


def build_missing_or_wrong_key_findings(
    keys: StateKeys, sources: KeySources, desired: Mapping[Address, Desired], shared_key_id: str
) -> tuple[Diagnostic, ...]:
    """The keys' own warnings, one where a key is needed and missing, an error for a wrong one.

    `shared_key_id` is that of the key a shared state is bound to, "" for all other states.
    """
    project, target = sources.project, sources.target
    findings = list(keys.warnings)
    if shared_key_id:
        findings += build_findings_unless_shared_key_fits(keys, sources, shared_key_id)
    elif keys.current_key is None and declares_any_secret(desired):
        findings.append(build_no_key_warning(project, target))
    if keys.current_key is None and _declares_verification_that_other_targets_require(
        project, target, desired
    ):
        findings.append(_build_unsigned_runs_warning(project, target))
    return tuple(findings)


def build_findings_unless_shared_key_fits(
    keys: StateKeys, sources: KeySources, shared_key_id: str
) -> tuple[Diagnostic, ...]:
    """A warning without a key, an error for another one than that of a shared state."""
    target, current_key = sources.target, keys.current_key
    if current_key is not None and current_key.key_id == shared_key_id:
        return ()
    hint = Text(
        "Get the key from whoever has it, and put it into "
        f"{sources.describe_places_to_put_key()}. If it is lost: ",
        Command("state rekey"),
        " takes another one, and shuts out all who have the former until they get it, too.",
    )
    if current_key is None:
        return (
            warning_finding(
                "The key of this shared state is not at hand",
                f"The state of target {target.name} has key {shared_key_id}, and there is none in "
                f"{sources.describe_key_places()}. Secrets are not compared, and what is signed "
                "cannot be checked.",
                hint,
                target=target.name,
            ),
        )
    return (
        error_finding(
            "The state key is not the one of this state",
            f"The state of target {target.name} has key {shared_key_id}; at hand is "
            f"{current_key.key_id} from {current_key.origin}. With it no secret could be compared, "
            "and nobody else could check what is signed.",
            hint,
            position=target.position,
        ),
    )


def build_no_key_warning(project: Project, target: Target) -> Diagnostic:
    """The warning that there are secrets and no key to digest them."""
    return warning_finding(
        "There is no state key: secrets are not compared",
        f"Neither {KEY_VARIABLE} nor {build_state_key_path(project, target)} holds the key that "
        "this state's secrets were digested with.",
        Text(
            "Restore the key. If it is lost: ",
            Command("state rekey"),
            " digests anew what can be resolved.",
        ),
        target=target.name,
    )


def collect_key_ids_of_digests(state: State) -> set[str]:
    """The ids of the keys that the digests of a state were made with."""
    return {
        value.key_id
        for record in state.records.values()
        for value in (*record.applied.values(), *record.seen.values())
        if isinstance(value, Mac)
    }


def declares_any_secret(desired: Mapping[Address, Desired]) -> bool:
    """Whether a secret is declared."""
    specs = (resource.spec for resource in desired.values())
    return any(isinstance(value, SecretRef) for spec in specs for value in flatten(spec).values())


def _declares_verification_that_other_targets_require(
    project: Project, target: Target, desired: Mapping[Address, Desired]
) -> bool:
    """Whether another target requires releases that are verified in this one."""
    required_lists = (other_target.require_verified for other_target in project.targets.values())
    is_required = any(target.name in names for names in required_lists)
    return is_required and any(resource.verify is not None for resource in desired.values())


def _build_unsigned_runs_warning(project: Project, target: Target) -> Diagnostic:
    """The warning that runs which another target requires are not signed."""
    return warning_finding(
        "There is no state key: the results of runs are not signed",
        f"Neither {format_key_variable_name_of_target(target.name)}, {KEY_VARIABLE} nor "
        f"{build_state_key_path(project, target)} holds "
        f"a key. Targets that require_verified {target.name} believe no run without a signature.",
        Text(
            "Restore the key, or make one and keep it where all runs get it: openssl rand -base64 "
            "32. What was verified before: ",
            Command("verify"),
            ".",
        ),
        target=target.name,
    )
