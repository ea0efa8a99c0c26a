"""Each play of tests/cases/rollouts.txt: what happens, a line each, and what a rollout does."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from unit.controller.rollouts.rollout_play import DEFAULTS, BegunRun, Outcome, RolloutPlay

from synapse_apply.controller.rows import RolloutState, TargetName
from synapse_apply.controller.rules.rollouts import is_overdue_for_a_week
from synapse_apply.controller.settings import DAY, Rollout, Wave

TEXT = (Path(__file__).parents[3] / "cases" / "rollouts.txt").read_text(encoding="utf-8")
PLAYS = re.findall(r"^=== (.+)\n((?:(?!===).*\n)*)", TEXT, re.MULTILINE)
LABELS = {f"eu-{n}": {"tier": "standard"} for n in range(1, 5)}
NAMES = ("canary-a", *LABELS, "prod-a", "prod-b")
NUMBERS: dict[str, Callable[[str], Any]] = {
    "soak": float,
    "max_parallel": int,
    "max_failures": int,
}


def read_wave(text: str) -> Wave:
    """`canary-* tier=standard soak=60 approve`: patterns, labels and settings; `*` alone is all."""
    targets, labels, settings = list[str](), dict[str, str](), dict[str, Any]()
    for word in text.split():
        name, _, value = word.partition("=")
        if name in NUMBERS:
            settings[name] = NUMBERS[name](value)
        elif value:
            labels[name] = value
        elif word == "approve":
            settings["approve"] = True
        elif word != "*":
            targets.append(word)
    return Wave(tuple(targets), labels, **settings)


def read_rollout(text: str, new_head: Any = "replace") -> Rollout:
    return Rollout("all", "acme", tuple(map(read_wave, text.split("|"))), new_head)


class Script:
    """A method for each verb that a line begins with; the rest of the line is its argument."""

    def __init__(self) -> None:
        self.play = RolloutPlay(read_rollout(PLAYS[0][1].partition("waves ")[2].split("\n")[0]))
        self.runs: dict[str, BegunRun] = {}

    def run(self, line: str) -> None:
        verb, _, rest = line.partition(" ")
        getattr(self, f"do_{verb}")(rest)

    def do_waves(self, text: str) -> None:
        self.play.rollout = read_rollout(text)

    def do_new_head(self, word: str) -> None:
        rollout = self.play.rollout
        self.play.rollout = Rollout(rollout.name, rollout.source, rollout.waves, word)

    def do_anew(self, _: str) -> None:
        self.play = RolloutPlay(self.play.rollout)

    def do_begins(self, text: str) -> None:
        """`begins anew with WAVES`: the targets were in another rollout, or in none."""
        self.play.rollout = read_rollout(text.removeprefix("anew with "))
        self.play.row, self.play.members = None, {}
        self.play.compare()

    def do_push(self, text: str) -> None:
        """`push a=v1 b=v1` has these targets; `push v2 for eu-3` all, of which one has changed."""
        if "=" in text:
            self.play.push(dict(word.split("=") for word in text.split()), LABELS)
            return
        version, _, touched = text.partition(" for ")
        digests = {target.name.target: target.digest for target in self.play.keyed}
        changed = dict.fromkeys(touched.split() or NAMES, version)
        self.play.push(digests | changed, LABELS)

    def do_look(self, text: str) -> None:
        names, _, outcome = text.partition(": ")
        self.play.look(*names.split(), outcome=Outcome(outcome or "good"))

    def do_soak(self, name: str) -> None:
        """Good looks at the times of its interval, for half an hour."""
        self.play.look(name)
        for _ in range(3):
            self.play.now += DEFAULTS.interval
            self.play.look(name)

    def do_play(self, _: str) -> None:
        """`play to the end`: everything is good, and everybody agrees."""
        self.do_soak("canary-a")
        for name in LABELS:
            self.play.look(name)
        if self.play.require_row().state is RolloutState.WAITING:
            self.play.approve(3)
        self.play.look("prod-a", "prod-b")
        assert self.play.require_row().state is RolloutState.DONE

    def do_wait(self, seconds: str) -> None:
        self.play.now += float(seconds)

    def do_begin(self, name: str) -> None:
        self.runs[name] = self.play.begin_run(name)

    def do_end(self, text: str) -> None:
        name, _, outcome = text.partition(": ")
        self.play.end_run(self.runs[name], Outcome(outcome))

    def do_approve(self, wave: str) -> None:
        self.play.approve(int(wave))

    def do_skip(self, text: str) -> None:
        wave, _, reason = text.partition(" ")
        self.play.skip(int(wave), reason)

    def do_resume(self, _: str) -> None:
        self.play.resume()

    def do_abort(self, reason: str) -> None:
        self.play.abort(reason)

    def do_compare(self, _: str) -> None:
        self.play.compare()

    def do_wanted(self, text: str) -> None:
        """The number of the revision at which each target is wanted; all others at none."""
        wanted = {name: str(number) for name, number in self.play.list_wanted().items() if number}
        assert wanted == dict(word.split("=") for word in text.split())

    def do_says(self, text: str) -> None:
        assert self.play.require_row().description == text

    def do_reason(self, text: str) -> None:
        assert self.play.require_row().state_reason == text

    def do_rollout(self, text: str) -> None:
        has(self.play.require_row(), text)

    def do_begun(self, text: str) -> None:
        name, _, rest = text.partition(" ")
        has(self.runs[name].target, rest)

    def do_target(self, text: str) -> None:
        name, _, rest = text.partition(" ")
        has(self.play.targets[TargetName("acme", name)], rest)

    def do_member(self, text: str) -> None:
        name, _, rest = text.partition(" ")
        member = self.play.members[TargetName("acme", name)]
        if rest.startswith("has "):
            assert getattr(member, rest.removeprefix("has "))
        else:
            has(member, rest)

    def do_all(self, _: str) -> None:
        """`all members are moved`."""
        assert all(member.moved_at for member in self.play.members.values())

    def do_wave(self, text: str) -> None:
        number, _, rest = text.partition(" ")
        has(self.play.waves[self.play.require_row().number, int(number)], rest)


def has(row: object, text: str) -> None:
    """`number=3 state=done`, or one value with spaces in it."""
    for pair in [text] if text.count("=") == 1 else text.split():
        name, _, expected = pair.partition("=")
        value = getattr(row, name)
        shown = value.name.lower() if isinstance(value, Enum) else str(value)
        assert shown == expected, row


@pytest.mark.parametrize(("title", "lines"), PLAYS, ids=[title for title, _ in PLAYS])
def test_a_play(title: str, lines: str) -> None:
    """Line for line; what `#` begins is for readers."""
    script = Script()
    for line in lines.splitlines():
        if line and not line.startswith("#"):
            script.run(line)


def test_a_rollout_that_does_not_come_to_its_last_wave_says_so_after_a_week() -> None:
    """However many heads took its place meanwhile; one that reached it begins to count anew."""
    play = RolloutPlay(read_rollout("a | b"), now=1000.0)
    for day in range(9):
        play.push({"a": f"v{day}", "b": f"v{day}"})
        assert is_overdue_for_a_week(play.require_row(), play.now) is (day > 7)
        play.now += DAY
    play.look("a", "b")
    assert play.require_row().state is RolloutState.DONE
    play.now += 30 * DAY
    play.push({"a": "last", "b": "last"})
    assert not is_overdue_for_a_week(play.require_row(), play.now)
