"""What `controller rollout` prints: rollouts in a table, one wave by wave, what was decided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from synapse_apply.views.sanitize import escape_ci_commands, sanitize

if TYPE_CHECKING:
    from synapse_apply.controller.remote.rollout_answers import ShownRollout, ShownWave

_RESULTS = {
    "approve": "Wave {wave} of {name} begins, as {who} said.",
    "resume": "{name} goes on, as {who} said: what failed is tried again.",
    "skip": "Wave {wave} of {name} is closed without evidence, as {who} said.",
    "abort": "{name} brings {commit} no further, as {who} said.",
}
_SHOWN = "shown"


def format_rollout_list(rollouts: Sequence[ShownRollout], *, color: bool) -> str:
    """A table of rollouts, or a sentence where there is none."""
    from synapse_apply.views.text.tables import render_table

    if not rollouts:
        return (
            "There is no rollout: none is configured under `rollouts` of controller.yaml, or you"
            " may read no target of one.\n"
        )
    rows = [
        (
            rollout.state,
            rollout.name,
            rollout.commit[:7] or "-",
            rollout.state_since or "-",
            rollout.description,
        )
        for rollout in rollouts
    ]
    headers = ("state", "rollout", "commit", "since", "how far")
    return render_table(headers, rows, color=color)


def format_rollout(rollout: ShownRollout, *, color: bool) -> str:
    """What a rollout brings and how far it is, and a table of its waves."""
    from synapse_apply.views.text.tables import render_table

    if not rollout.commit:
        return sanitize(f"{rollout.name} has not begun with any revision.") + "\n"
    subject = f" {rollout.subject}" if rollout.subject else ""
    lines = [
        f"{rollout.name} brings {rollout.commit}{subject}",
        rollout.description or rollout.state,
    ]
    rows = [
        (
            f"{wave.number}",
            wave.state,
            f"{wave.target_states.get(_SHOWN, 0)} of {wave.target_count}",
            ", ".join(
                f"{share.commit[:7] or 'none'} ({share.target_count})" for share in wave.shares
            ),
            _describe_wave_or_dash(wave),
        )
        for wave in rollout.waves
    ]
    headers = ("wave", "state", "shown", "revisions", "targets")
    head = escape_ci_commands("".join(f"{sanitize(line)}\n" for line in lines))
    return f"{head}\n{render_table(headers, rows, color=color)}"


def format_decision_result(rollout: ShownRollout, verb: str, who: str) -> str:
    """One line that says what was decided."""
    text = _RESULTS[verb].format(
        wave=rollout.wave, name=rollout.name, commit=rollout.commit[:12], who=who
    )
    return escape_ci_commands(f"{sanitize(text)}\n")


def _describe_wave_or_dash(wave: ShownWave) -> str:
    """How many targets are in which state, and what people said of the wave."""
    parts = [f"{count} {state}" for state, count in wave.target_states.items() if state != _SHOWN]
    if wave.failed_count and wave.max_failures is not None:
        parts.append(f"{wave.failed_count} failed, at most {wave.max_failures} may")
    if wave.approved_by:
        parts.append(f"approved by {wave.approved_by}")
    if wave.closed_by:
        parts.append(f"{wave.state} by {wave.closed_by}: {wave.reason}")
    return "; ".join(parts) or "-"
