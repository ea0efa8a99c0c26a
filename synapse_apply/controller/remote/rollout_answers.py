"""Which answers on rollouts are believed: those that have all that is printed of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from synapse_apply.controller.remote.answers import (
    OddAnswerError,
    get_text_or_empty,
    require_count,
    require_list,
    require_mapping,
    require_text,
)
from synapse_apply.model.coding.json_types import JsonValue
from synapse_apply.model.frozen import frozen


class ShownShare(NamedTuple):
    """How many targets of a wave are to have a revision; "" for none yet."""

    commit: str
    target_count: int


@frozen
class ShownWave:
    """A wave of a rollout, in the words of the controller.

    `max_failures` is None where the token may not read all targets of the source.
    """

    number: int
    state: str
    target_count: int
    target_states: Mapping[str, int]
    shares: tuple[ShownShare, ...]
    failed_count: int = 0
    max_failures: int | None = None
    approved_by: str = ""
    closed_by: str = ""
    reason: str = ""


@frozen
class ShownRollout:
    """A rollout, in the words of the controller.

    `number` and `wave` are 0 and `commit` is "" for one that has not begun with any revision.
    `document` is the answer itself.
    """

    name: str
    source: str
    state: str
    commit: str
    number: int
    subject: str
    wave: int
    wave_count: int
    description: str
    waves: tuple[ShownWave, ...]
    document: Mapping[str, Any]
    state_since: str = ""


class RolloutResult(NamedTuple):
    """What a controller did when a rollout was asked; `who` is whom it took the token for."""

    who: str


def decode_rollout(item: Mapping[str, Any]) -> ShownRollout:
    """A rollout of a RolloutList, or a Rollout; OddAnswerError."""
    return ShownRollout(
        name=require_text(item, "name"),
        source=require_text(item, "source"),
        state=require_text(item, "state"),
        commit=get_text_or_empty(item, "commit"),
        number=require_count(item.get("number") or 0, "number"),
        subject=get_text_or_empty(item, "subject"),
        wave=require_count(item.get("wave") or 0, "wave"),
        wave_count=require_count(item.get("wave_count"), "wave_count"),
        description=get_text_or_empty(item, "description"),
        waves=tuple(
            _decode_wave(require_mapping(wave, "waves"))
            for wave in require_list(item.get("waves"), "waves")
        ),
        document=item,
        state_since=get_text_or_empty(item, "state_since"),
    )


def decode_rollout_result(document: JsonValue) -> RolloutResult:
    """What a POST is answered; OddAnswerError."""
    fields = require_mapping(document, "the answer")
    if fields.get("kind") != "RolloutResult":
        raise OddAnswerError("it is not a RolloutResult")
    return RolloutResult(require_text(fields, "who"))


def _decode_wave(item: Mapping[str, Any]) -> ShownWave:
    states = require_mapping(item.get("target_states"), "target_states")
    max_failures = item.get("max_failures")
    return ShownWave(
        number=require_count(item.get("wave"), "wave"),
        state=require_text(item, "state"),
        target_count=require_count(item.get("target_count"), "target_count"),
        target_states={state: require_count(count, state) for state, count in states.items()},
        shares=tuple(
            _decode_share(require_mapping(share, "revisions"))
            for share in require_list(item.get("revisions"), "revisions")
        ),
        failed_count=require_count(item.get("failed_count"), "failed_count"),
        max_failures=None if max_failures is None else require_count(max_failures, "max_failures"),
        approved_by=get_text_or_empty(item, "approved_by"),
        closed_by=get_text_or_empty(item, "closed_by"),
        reason=get_text_or_empty(item, "reason"),
    )


def _decode_share(item: Mapping[str, Any]) -> ShownShare:
    count = require_count(item.get("target_count"), "target_count")
    return ShownShare(get_text_or_empty(item, "commit"), count)
