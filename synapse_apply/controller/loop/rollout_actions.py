"""What people ask of rollouts: each is checked, done and in the audit in one transaction."""

from __future__ import annotations

from typing import NoReturn

from synapse_apply.controller.ports import ActionRefused


class LoopRolloutActions:
    """The RolloutActions of a running loop; used by any thread. No rollout moves anything yet."""

    def approve_wave(self, _who: str, rollout: str, _number: int, _wave: int) -> None:
        """See RolloutActions."""
        _refuse(rollout)

    def resume_rollout(self, _who: str, rollout: str, _number: int) -> None:
        """See RolloutActions."""
        _refuse(rollout)

    def skip_wave(self, _who: str, rollout: str, _number: int, _wave: int, _reason: str) -> None:
        """See RolloutActions."""
        _refuse(rollout)

    def abort_rollout(self, _who: str, rollout: str, _number: int, _reason: str) -> None:
        """See RolloutActions."""
        _refuse(rollout)


def _refuse(rollout: str) -> NoReturn:
    raise ActionRefused.from_summary(
        "There is no such rollout", f"{rollout} has not begun with any revision."
    )
