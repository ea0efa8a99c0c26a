"""Graphs: stable, coloured by action, and closed to any text."""

from __future__ import annotations

import re

from hypothesis import given
from laws.effort import effort
from unit.views import plan_samples as samples
from unit.views.golden_files import check_golden
from unit.views.hostile import CANARY, LONG, PLANS, STEERING, stuffed

from synapse_apply.model.plan import Action
from synapse_apply.views.graph import GraphNode, build_plan_nodes, format_mermaid

MERMAID = [
    re.compile(r"flowchart LR"),
    re.compile(
        r'  n\d+\["[^"\[\]{}()%`;&<>\\]*(<br/>[a-z-]+( and verify)?)?"\](:::is[A-Z][a-z]+)?'
    ),
    re.compile(r"  n\d+ --> n\d+"),
    re.compile(r"  classDef is[A-Z][a-z]+ [a-z#0-9:, -]+"),
]


def assert_ours(text):
    """Every line is one of the few that a graph has."""
    for line in text.split("\n")[:-1]:
        # A code such as #34; stands for a character, and its semicolon ends nothing.
        plain = re.sub(r"#\d+;", "", line) if "classDef" not in line else line
        assert any(shape.fullmatch(plain) for shape in MERMAID), line
    assert CANARY not in text
    assert not STEERING.search(text)
    text.encode()


def test_graph_of_a_plan():
    """Every action has its colour and its word, as the golden files."""
    text = format_mermaid(build_plan_nodes(samples.PLANS["everything"]))
    assert_ours(text)
    check_golden("plan-everything.mermaid", text)
    words = {action.value for action in Action} - {"no-op"}
    assert all(word in text for word in (*words, "refused"))


def test_graph_does_not_depend_on_order():
    """The same resources in any order give the same text."""
    nodes = [
        GraphNode(samples.RELEASE, (samples.YOLO,)),
        GraphNode(samples.YOLO),
        GraphNode(samples.LAKE),
    ]
    assert format_mermaid(nodes) == format_mermaid(nodes[::-1])


@effort(15, 600)
@given(PLANS)
def test_names_stay_in_their_labels(plan):
    """No name ends its label, begins a directive or an edge."""
    assert_ours(format_mermaid(build_plan_nodes(plan)))


def test_very_long_names_are_shortened():
    """100 KB in a name."""
    for text in LONG:
        drawn = format_mermaid(build_plan_nodes(stuffed(text)))
        assert_ours(drawn)
        assert len(drawn) < 20_000
