"""`rollouts` of controller.yaml: what it says, and what is wrong with it, with its place."""

from __future__ import annotations

import re

import pytest
from controllers.checking import check

HEAD = """\
apiVersion: synapse-apply/v1
kind: Controller
metadata: {name: main}
access: {tokens: {ops: {env: T}}, may: [{who: ["token:ops"], do: [approve]}]}
sources:
  acme: {url: https://git.example/a.git, pin: git:main, targets: {watched: {mode: observe}, "*": {mode: auto}}}
"""
OTHER_SOURCE = """\
  infra: {url: https://git.example/b.git, targets: {"*": {mode: observe}}}
"""


def write_rollout(*waves: str, keys: str = "") -> str:
    """The file with one rollout, whose waves begin in line 10."""
    lines = "".join(f"      - {wave}\n" for wave in waves)
    return f"{HEAD}rollouts:\n  all:\n    waves:\n{lines}{keys}"


@pytest.mark.parametrize(
    ("waves", "line", "words"),
    [
        (["{soak: 5}"], 10, "30s, 10m"),
        (["{soak: 0s}"], 10, "Too short"),
        (["{max_parallel: 0}"], 10, "at least|minimum|less than"),
        (["{max_failures: -1}"], 10, "at least|minimum|less than"),
        (["{targets: []}"], 10, "waves"),
        (["{labels: {}}"], 10, "waves"),
        (["{aprove: true}"], 10, "approve"),
        (["{targets: [a, a]}"], 10, "without repetitions"),
        (["{}", "{targets: [prod]}"], 11, "already belong to wave 1"),
        (["{targets: [a]}", '{targets: ["*"]}', "{labels: {a: b}}"], 12, "belong to wave 2"),
        (["{labels: {a: b}}", "{labels: {a: b, c: d}, targets: [x]}"], 11, "belong to wave 1"),
        (["{targets: [a]}", "{targets: [b]}", "{targets: [b, a]}"], 12, "wave 1 and wave 2"),
        (["{targets: [acme/prod]}"], 10, "target names have no `/`"),
        (["{targets: [watched]}"], 10, "rule `watched` only observes"),
    ],
)
def test_what_is_wrong_with_a_wave_is_said_with_its_place(waves, line, words):
    """An error with line and words; the file is not used."""
    findings = check(write_rollout(*waves))
    errors = [finding for finding in findings if finding.is_error]
    texts = [f"{f.summary}: {f.detail}; {f.hint}" for f in errors]
    assert any(re.search(words, text) for text in texts), texts
    assert {f.line for f in errors if f.line} == {line}


@pytest.mark.parametrize(
    ("waves", "words"),
    [
        (["{max_parallel: 2, max_failures: 2}"], "no target follows a failed one"),
        (['{targets: ["p*"]}', "{targets: [prod, dev]}"], "`prod`: the earlier wave 1"),
    ],
)
def test_what_is_odd_in_a_wave_is_a_warning(waves, words):
    findings = check(write_rollout(*waves))
    (finding,) = findings
    assert not finding.is_error
    assert words in finding.detail


@pytest.mark.parametrize(
    ("rollouts", "words"),
    [
        ("{all: {waves: [{}]}}", "there are several: acme, infra"),
        ("{all: {source: acne, waves: [{}]}}", "acme"),
        ("{all: {source: infra, waves: [{}]}}", "infra: each rule only observes"),
        ("{all: {source: acme, waves: []}}", "waves"),
        ("{all: {source: acme, new_head: wait, waves: [{}]}}", "queue"),
        ("{All: {source: acme, waves: [{}]}}", "lower-case"),
        (
            "{a: {source: acme, waves: [{targets: [x]}, {}]}, b: {source: acme, waves: [{targets: [y]}]}}",
            "rollout `a` has a wave",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_rollout_is_said(rollouts, words):
    findings = check(f"{HEAD}{OTHER_SOURCE}rollouts: {rollouts}\n")
    texts = [f"{f.summary}: {f.detail}; {f.hint}" for f in findings if f.is_error]
    assert len(texts) == 1
    assert words in texts[0]


def test_rollouts_of_targets_that_differ_are_no_matter():
    """Nor are rollouts of other sources."""
    text = """\
rollouts:
  a: {source: acme, waves: [{targets: ["a-*"], labels: {tier: x}}]}
  b: {source: acme, waves: [{targets: ["b-*"]}, {targets: ["a-*"], labels: {tier: y}}]}
"""
    findings = check(f"{HEAD}{OTHER_SOURCE}{text}")
    assert findings == []


def test_a_wave_that_nobody_could_let_begin_is_told():
    """Where no rule gives the right to approve all of its targets."""
    text = write_rollout("{targets: [dev]}", "{approve: true}").replace(
        "do: [approve]", "do: [read]"
    )
    findings = check(text)
    (finding,) = findings
    assert not finding.is_error
    assert finding.detail.startswith("approving wave 2 needs the right `approve`")


def test_a_rollout_that_does_not_fit_hides_nothing_of_the_others():
    text = "rollouts: {a: {waves: 1}, b: {waves: [{}, {targets: [x]}]}}\n"
    findings = check(f"{HEAD}{text}")
    assert {finding.path for finding in findings} >= {
        ("rollouts", "a", "waves"),
        ("rollouts", "b", "waves", "1"),
    }


def test_labels_that_a_commit_can_change_choose_no_wave_that_waits_for_a_person():
    """A warning where the source has no `pin`; names are those of controller.yaml alone."""
    waves = "{labels: {tier: canary}}", "{approve: true}"
    by_name = write_rollout("{targets: [dev]}", "{approve: true}")
    for text, lines in (
        (write_rollout(*waves), []),
        (write_rollout(*waves).replace("pin: git:main, ", ""), [9]),
        (by_name.replace("pin: git:main, ", ""), []),
    ):
        findings = check(text)
        told = [
            finding
            for finding in findings
            if finding.summary == ("A commit can change the wave of a target")
        ]
        assert [finding.line for finding in told] == lines
