"""Rollouts as a page may meet them: one in its second wave, one that waits, one of 10,000."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from unit.controller.page import page_samples as samples
from unit.controller.page import people_samples as people
from unit.controller.page.page_samples import COMMITS, HEAD_COMMIT, HOUR, MINUTE, NOW, OLD_COMMIT

from synapse_apply.controller.rows import (
    RolloutRow,
    RolloutState,
    RolloutTargetRow,
    SourceRow,
    TargetCondition,
    TargetName,
    TargetRow,
    WaveEnd,
    WaveRow,
)
from synapse_apply.controller.settings import Rollout, Wave
from synapse_apply.controller.store.controller_store import ControllerStore

DIGEST, OLD_DIGEST = "d1" * 32, "d0" * 32
WAVES = (
    Wave(("canary-*",), soak=30 * MINUTE),
    Wave(labels={"tier": "standard"}, soak=10 * MINUTE, max_parallel=4, max_failures=2),
    Wave(("prod-*",), soak=HOUR, approve=True),
)
SETTINGS = replace(
    people.SETTINGS,
    rollouts={
        "fleet": Rollout("fleet", "acme", WAVES),
        "lab": Rollout("lab", "vision", (Wave(("lab",)), Wave(approve=True)), new_head="queue"),
        "later": Rollout("later", "vision", (Wave(),)),
    },
)
FLEET = RolloutRow("acme", "fleet", 3, HEAD_COMMIT, NOW - 2 * HOUR, 3, 2, NOW - HOUR,
                   state_since=NOW - 2 * HOUR,
                   description="wave 2 of 3: 1 of 8 healthy, 1 failing: eu-4")  # fmt: skip


def build_member(target: str, wave: int, **more: object) -> RolloutTargetRow:
    """A target of the rollout `fleet`."""
    moved_digest = DIGEST if more.get("moved_at") else OLD_DIGEST
    values = {
        "number": 3, "commit": HEAD_COMMIT, "digest": DIGEST, "moved_digest": moved_digest, **more,
    }  # fmt: skip
    return RolloutTargetRow(TargetName("acme", target), "fleet", wave, **values)  # type: ignore[arg-type]


def build_soaking(target: str, soaked: float, **more: object) -> RolloutTargetRow:
    """A target of its second wave that has looked good for some seconds."""
    values = {
        "moved_at": NOW - HOUR, "good_since": NOW - soaked, "good_until": NOW, "soaked": soaked,
        **more,
    }  # fmt: skip
    return build_member(target, 2, **values)


PASSED = {"moved_at": NOW - 2 * HOUR, "good_since": NOW - HOUR - 40 * MINUTE,
          "good_until": NOW - 9 * MINUTE, "soaked": 40 * MINUTE}  # fmt: skip
MEMBERS: Sequence[tuple[RolloutTargetRow, TargetCondition]] = (
    (build_member("canary-1", 1, **PASSED), TargetCondition.IN_SYNC),
    (build_member("canary-2", 1, **PASSED), TargetCondition.IN_SYNC),
    (build_soaking("eu-1", 11 * MINUTE), TargetCondition.IN_SYNC),
    (build_soaking("eu-2", 4 * MINUTE), TargetCondition.IN_SYNC),
    (build_member("eu-3", 2, moved_at=NOW - MINUTE), TargetCondition.PENDING),
    (build_member("eu-4", 2, moved_at=NOW - HOUR, failed_at=NOW - MINUTE), TargetCondition.FAILING),
    (build_member("us-1", 2, moved_at=NOW - HOUR), TargetCondition.HELD),
    (build_member("us-2", 2, moved_at=NOW - HOUR), TargetCondition.WAITING),
    (build_member("us-3", 2), TargetCondition.IN_SYNC),
    (build_member("us-4", 2), TargetCondition.IN_SYNC),
    *((build_member(f"prod-{n}", 3), TargetCondition.IN_SYNC) for n in range(1, 7)),
)  # fmt: skip
PAST_WAVES = (
    WaveRow("acme", "fleet", 2, 1, NOW - 5 * HOUR, "", NOW - 4 * HOUR, WaveEnd.EVIDENCE),
    WaveRow("acme", "fleet", 2, 2, NOW - 4 * HOUR, "", NOW - 3 * HOUR, WaveEnd.SKIPPED,
            "proxy:ann", "eu-4 is being rebuilt"),
    WaveRow("acme", "fleet", 2, 3, NOW - 3 * HOUR, "proxy:lee"),
)  # fmt: skip


def fill_rollouts(store: ControllerStore, row: RolloutRow = FLEET) -> None:
    """The few sources and targets, `fleet` with all that a target can be, `lab` that waits."""
    people.fill_held(store)
    with store.write() as writer:
        for member, state in MEMBERS:
            is_moved_to_revision = bool(member.moved_at)
            writer.put(
                TargetRow(
                    member.target, HEAD_COMMIT if is_moved_to_revision else OLD_COMMIT, 3 if is_moved_to_revision else 1,
                    HEAD_COMMIT if member.good_since else OLD_COMMIT, state=state,
                    looked_at=NOW - 10, looked_number=3, changed_at=NOW - HOUR, due_at=NOW + MINUTE,
                    wanted_digest=DIGEST if is_moved_to_revision else OLD_DIGEST, head_digest=DIGEST,
                    waiting_reason="outside its windows until 2026-11-27T09:00:00Z"
                    if state is TargetCondition.WAITING else "",
                    hold_count=2 if state is TargetCondition.HELD else 0,
                )
            )  # fmt: skip
        writer.put(row)
        writer.put(*[member for member, _ in MEMBERS])
        writer.put(WaveRow("acme", "fleet", 3, 1, NOW - 2 * HOUR, "", NOW - HOUR, WaveEnd.EVIDENCE))
        writer.put(WaveRow("acme", "fleet", 3, 2, NOW - HOUR))
        for wave in PAST_WAVES:
            writer.put(wave)
        writer.put(
            RolloutRow("vision", "lab", 2, COMMITS[1], NOW - 3 * HOUR, 2, 2, 0.0,
                       RolloutState.WAITING, NOW - 2 * HOUR)
        )  # fmt: skip
        lab = TargetName("vision", "lab")
        writer.put(*[
            RolloutTargetRow(lab, "lab", 1, 2, COMMITS[1], DIGEST, DIGEST, NOW - 3 * HOUR,
                             good_since=NOW - 2 * HOUR, good_until=NOW - HOUR, soaked=HOUR),
            RolloutTargetRow(TargetName("vision", "archive"), "lab", 2, 2, COMMITS[1], DIGEST),
        ])  # fmt: skip
        writer.put(
            WaveRow("vision", "lab", 2, 1, NOW - 3 * HOUR, "", NOW - 2 * HOUR, WaveEnd.EVIDENCE)
        )


def fill_large_rollout(store: ControllerStore, count: int) -> None:
    """`count` targets in three waves, the second of which is open."""
    with store.write() as writer:
        writer.put(SourceRow("acme", fetched_at=NOW - 20, due_at=NOW + 40))
        for revision in samples.build_revisions("acme"):
            writer.accept_head("acme", revision.number - 1, revision)
        members = []
        for index in range(count):
            wave = 1 if index < 10 else 2 if index < count // 3 else 3
            is_moved_to_revision = wave < 3 and (index % 3 > 0 or wave == 1)
            good_since = NOW - HOUR if is_moved_to_revision and (wave == 1 or index % 7) else 0.0
            member = build_member(
                f"tenant-{index:05d}", wave, moved_at=NOW - 2 * HOUR if is_moved_to_revision else 0.0,
                good_since=good_since, good_until=NOW - MINUTE if good_since else 0.0,
                soaked=59 * MINUTE if index % 2 or wave == 1 else 5 * MINUTE,
            )  # fmt: skip
            members.append(member)
            writer.put(
                TargetRow(
                    member.target, HEAD_COMMIT if is_moved_to_revision else COMMITS[index % 2], 3 if is_moved_to_revision else 1,
                    state=TargetCondition.FAILING if is_moved_to_revision and not good_since and not index % 35
                    else TargetCondition.IN_SYNC,
                    looked_at=NOW - 10, looked_number=3, wanted_digest=DIGEST if is_moved_to_revision else OLD_DIGEST,
                )
            )  # fmt: skip
        writer.put(*members)
        writer.put(FLEET)
        writer.put(WaveRow("acme", "fleet", 3, 1, NOW - 2 * HOUR, "", NOW - HOUR, WaveEnd.EVIDENCE))
        writer.put(WaveRow("acme", "fleet", 3, 2, NOW - HOUR))
