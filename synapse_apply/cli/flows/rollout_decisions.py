"""What is decided of a rollout: shown and asked for, or named by the revision that was seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.model.errors import InputError, NotApproved, Refused, Stale
from synapse_apply.model.frozen import frozen

if TYPE_CHECKING:
    from synapse_apply.controller.remote.rollout_answers import ShownRollout


@frozen
class RolloutDecision:
    """What is decided. `question` may have a place for the wave; then it is of that wave alone.

    `state` is the state that the rollout has to be in, "" for any that is not over.
    """

    verb: str
    question: str
    state: str = ""
    reason: str = ""

    @property
    def is_of_wave(self) -> bool:
        return "{wave}" in self.question


def decide_on_rollout(
    console: Console,
    url: str,
    name: str,
    decision: RolloutDecision,
    *,
    revision: str | None,
    wave: int | None = None,
) -> int:
    """Ask a controller for a decision on the revision and wave that are shown, or were seen.

    Raises Stale where it has another revision or wave than those that were named, Refused where
    this cannot be asked of it, InputError where nobody can be asked, NotApproved where the answer
    is no.
    """
    from synapse_apply.cli.flows.controller_access import open_controller_api
    from synapse_apply.cli.texts.controller_rollouts import format_decision_result, format_rollout

    if decision.is_of_wave and bool(revision) != bool(wave):
        raise click.UsageError("--revision and --wave go together.")
    api = open_controller_api(console, url)
    rollout = api.read_rollout(name)
    is_over = rollout.state in {"done", "aborted", "not begun"}
    if is_over or decision.state not in {"", rollout.state}:
        requirement = f"`{decision.verb}` is for one that is {decision.state or 'under way'}."
        raise Refused.from_summary(
            f"The rollout is {rollout.state}",
            f"{rollout.name}: {rollout.description or rollout.state}. {requirement}",
        )
    if revision:
        if not rollout.commit.startswith(revision):
            raise Stale.from_summary(
                "The rollout brings another revision by now",
                f"{rollout.name} brings {rollout.commit}, not {revision}.",
                "See how far that is, and decide on it.",
            )
        if wave not in {None, rollout.wave}:
            raise Stale.from_summary(
                "The rollout is at another wave by now",
                f"{rollout.name} is at wave {rollout.wave} of {rollout.wave_count}, not at {wave}.",
                "See how far it is, and decide on that wave.",
            )
    else:
        console.write_output(format_rollout(rollout, color=console.is_output_colored))
        _ask_and_require_yes(console, rollout, decision)
    asked_wave = rollout.wave if decision.is_of_wave else 0
    result = api.ask_rollout(name, decision.verb, rollout.number, asked_wave, decision.reason)
    console.write_output(format_decision_result(rollout, decision.verb, result.who))
    return 0


def _ask_and_require_yes(
    console: Console, rollout: ShownRollout, decision: RolloutDecision
) -> None:
    from synapse_apply.cli.flows.approval import ask_approval
    from synapse_apply.views.sanitize import sanitize

    if not console.is_interactive:
        wave = " --wave N" if decision.is_of_wave else ""
        raise InputError.from_summary(
            "Nobody can be asked: not a terminal",
            f"`{decision.verb}` needs what was seen where there is no terminal to ask on.",
            f"Add --revision COMMIT{wave}, as they are shown.",
        )
    question = f"{decision.question.format(wave=rollout.wave)}, of rollout {rollout.name}?"
    detail = f"Revision {rollout.commit[:12]}, as it is shown above."
    if not ask_approval(console, sanitize(question), sanitize(detail)):
        raise NotApproved.from_summary("Nothing was decided", "The answer was not `yes`.")
