"""The dependency graph, for Mermaid and for Graphviz; an arrow leads to what is needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain

from synapse_apply.model.address import Address
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Action, Plan
from synapse_apply.views.markup import shortened
from synapse_apply.views.safety import clean, disarm

_LONGEST = 200
_REFUSED = "refused"
_VERIFY = "verify"
# A fill and a line that tell apart on light and on dark, each with black text.
_COLOURS = {
    "create": ("#b7e4c7", "#2d6a4f"),
    "update": ("#ffe8a3", "#9a6700"),
    "adopt": ("#bfdbfe", "#1d4ed8"),
    "delete": ("#fecaca", "#b91c1c"),
    "forget": ("#e5e7eb", "#6b7280"),
    _VERIFY: ("#ddd6fe", "#6d28d9"),
    _REFUSED: ("#ffffff", "#b91c1c"),
}
_COLOURS["recreate-missing"] = _COLOURS["create"]
_MERMAID_PLAIN = re.compile(r"[^A-Za-z0-9 /@._\-\u0080-\U0010ffff]")


@frozen
class Node:
    """A resource, what it needs, and what is planned for it; "" for nothing.

    `runs` tells that a run follows what is planned; a run alone is what is planned.
    """

    address: Address
    needs: tuple[Address, ...] = ()
    planned: str = ""
    runs: bool = False


def planned_nodes(plan: Plan) -> list[Node]:
    """A node a change, history left out."""
    return [
        Node(change.address, change.depends_on, planned, runs and planned != _VERIFY)
        for change in plan.changes
        for runs in [change.verification is not None and not change.refused]
        for planned in [_planned(change.action, refused=change.refused, runs=runs)]
        if not change.superseded
    ]


def _planned(action: Action, *, refused: bool, runs: bool) -> str:
    if refused:
        return _REFUSED
    if action is Action.NO_OP:
        return _VERIFY if runs else ""
    return str(action.value)


def mermaid(nodes: Iterable[Node]) -> str:
    """A flowchart that GitHub and GitLab draw in a ```mermaid block."""
    drawn = _Drawn.of(nodes)
    lines = ["flowchart LR"]
    for node, name in drawn.named():
        label = "<br/>".join(map(_mermaid_text, _words(node)))
        style = f":::{_class(node.planned)}" if node.planned else ""
        lines.append(f'  {name}["{label}"]{style}')
    lines += [f"  {one} --> {other}" for one, other in drawn.edges()]
    for planned in drawn.kinds():
        fill, line = _COLOURS[planned]
        dashes = ",stroke-dasharray:5 3" if planned == _REFUSED else ""
        lines.append(f"  classDef {_class(planned)} fill:{fill},stroke:{line},color:#000{dashes}")
    return disarm("\n".join(lines) + "\n")


def dot(nodes: Iterable[Node]) -> str:
    """A digraph for Graphviz."""
    drawn = _Drawn.of(nodes)
    lines = ["digraph synapse_apply {", "  rankdir=LR", "  node [shape=box, style=rounded]"]
    for node, name in drawn.named():
        facts = [f"label={_dot_text(_words(node))}"]
        if node.planned:
            fill, line = _COLOURS[node.planned]
            style = "rounded,filled,dashed" if node.planned == _REFUSED else "rounded,filled"
            facts += [f'style="{style}"', f'fillcolor="{fill}"', f'color="{line}"']
        lines.append(f"  {name} [{', '.join(facts)}]")
    lines += [f"  {one} -> {other}" for one, other in drawn.edges()]
    return disarm("\n".join([*lines, "}"]) + "\n")


FORMATS: Mapping[str, Callable[[Iterable[Node]], str]] = {"mermaid": mermaid, "dot": dot}


@frozen
class _Drawn:
    """Nodes in the order of their addresses, those that are only needed among them."""

    nodes: Sequence[Node]
    names: Mapping[Address, str]

    @classmethod
    def of(cls, nodes: Iterable[Node]) -> _Drawn:
        known = {node.address: node for node in nodes}
        for need in sorted(set(chain.from_iterable(node.needs for node in known.values()))):
            known.setdefault(need, Node(need))
        ordered = [known[address] for address in sorted(known)]
        return cls(ordered, {node.address: f"n{at}" for at, node in enumerate(ordered)})

    def named(self) -> Iterator[tuple[Node, str]]:
        return ((node, self.names[node.address]) for node in self.nodes)

    def edges(self) -> Iterator[tuple[str, str]]:
        for node in self.nodes:
            for need in sorted(set(node.needs)):
                yield self.names[node.address], self.names[need]

    def kinds(self) -> list[str]:
        return sorted({node.planned for node in self.nodes if node.planned})


def _words(node: Node) -> list[str]:
    name = clean(shortened(str(node.address), _LONGEST))
    planned = f"{node.planned} and {_VERIFY}" if node.runs else node.planned
    return [name, planned] if planned else [name]


def _class(planned: str) -> str:
    return f"is{planned.replace('-', '').capitalize()}"  # `end` and `class` are words of Mermaid


def _mermaid_text(text: str) -> str:
    """A label's text: what could be markup or a directive stands as the code of its character."""
    return _MERMAID_PLAIN.sub(lambda match: f"#{ord(match.group())};", text)


def _dot_text(lines: Iterable[str]) -> str:
    return '"' + r"\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in lines) + '"'
