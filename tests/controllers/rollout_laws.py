"""The law of waves, judged from the backend's log of writes and from what was pushed and allowed.

No write that changes a target begins before each target of each earlier wave had what the same
commit declares of it, for as long as its wave soaks, or somebody skipped that wave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from controllers.backend_proxy import Call
from controllers.rollout_site import RolloutSite


class Stay(NamedTuple):
    """How long a target had a text, by `time.monotonic`: from when it surely had it."""

    text: str
    begin: float
    end: float


@dataclass
class WaveLedger:
    """What people allowed: `approvals` and `skips` are (when, commit, wave), just before it was asked for.

    `waves` has the targets of each wave that there may be, `soaks` the seconds of each, and
    `approved_waves` the numbers of those that a person lets begin.
    """

    waves: Sequence[Sequence[str]]
    soaks: Sequence[float]
    approved_waves: Sequence[int] = ()
    approvals: list[tuple[float, str, int]] = field(default_factory=list)
    skips: list[tuple[float, str, int]] = field(default_factory=list)

    def check(self, site: RolloutSite) -> None:
        """That each write of the controller's to a later wave was allowed."""
        calls = {target: site.list_writes_of(target) for target in site.most_targets}
        stays = {target: list_stays(found) for target, found in calls.items()}
        for number, targets in enumerate(self.waves, start=1):
            for target in targets:
                text_before = ""
                for call in calls[target]:
                    text = str(call.values["description"])
                    if text != text_before:
                        reasons = self._explain(site, stays, target, number, text, call.began_at)
                        assert not reasons, (call, reasons)
                    # One that may have been done counts: its answer may have been lost.
                    text_before = text

    def _explain(
        self,
        site: RolloutSite,
        stays: Mapping[str, Sequence[Stay]],
        target: str,
        number: int,
        text: str,
        when: float,
    ) -> dict[str, str]:
        """Why no commit lets a write begin, by commit; {} where one does."""
        reasons: dict[str, str] = {}
        for commit, texts in site.declared.items():
            if texts.get(target) == text and site.pushed_at[commit] <= when:
                reason = self._find_reason_or_empty(site, stays, commit, number, when)
                if not reason:
                    return {}
                reasons[commit[:8]] = reason
        return reasons or {"": "no commit declares it"}

    def _find_reason_or_empty(
        self,
        site: RolloutSite,
        stays: Mapping[str, Sequence[Stay]],
        commit: str,
        number: int,
        when: float,
    ) -> str:
        if number in self.approved_waves and not is_said(self.approvals, commit, number, when):
            return f"wave {number} was not approved"
        for earlier, targets in enumerate(self.waves[: number - 1], start=1):
            if is_said(self.skips, commit, earlier, when):
                continue
            for target, text in site.declared[commit].items():
                soak = self.soaks[earlier - 1]
                if target in targets and not any(
                    stay.text == text
                    and stay.begin + soak <= min(stay.end, when)
                    and stay.end > site.pushed_at[commit]
                    for stay in stays[target]
                ):
                    return f"{target} of wave {earlier} has not shown {text}"
        return ""


def is_said(said: Sequence[tuple[float, str, int]], commit: str, number: int, when: float) -> bool:
    """Whether somebody said it of this commit and wave before a time."""
    return any(
        at <= when and (of_commit, of_wave) == (commit, number) for at, of_commit, of_wave in said
    )


def list_stays(calls: Sequence[Call]) -> list[Stay]:
    """What a target had, by its writes; each stay ends where another text began.

    One whose answer was lost may have been done: then no other follows it.
    """
    stays: list[Stay] = []
    for call in [call for call in calls if call.is_done or not call.status]:
        text = str(call.values["description"])
        if stays and stays[-1].text == text:
            continue
        if stays:
            stays[-1] = stays[-1]._replace(end=call.began_at)
        stays.append(Stay(text, call.ended_at or call.began_at, inf))
    return stays
