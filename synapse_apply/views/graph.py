"""How the dependency graph is written as a Mermaid flowchart; arrows point to dependencies."""

from __future__ import annotations

import re
from collections.abc import Iterable

from synapse_apply.model.address import Address
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Action, Plan
from synapse_apply.views.sanitize import cut_text, escape_ci_commands, sanitize

_MAX_LABEL_LENGTH = 200
_REFUSED = "refused"
_VERIFY = "verify"
# Fill and stroke colours that are readable with black text on light and dark pages.
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
_MERMAID_SPECIAL_CHARS = re.compile(r"[^A-Za-z0-9 /@._\-\u0080-\U0010ffff]")


@frozen
class GraphNode:
    """A resource, its dependencies, and the action that is planned for it ("" for none).

    `has_run`: a verification run follows the action. A run alone is the action `verify`.
    """

    address: Address
    needs: tuple[Address, ...] = ()
    planned_action: str = ""
    has_run: bool = False


def build_plan_nodes(plan: Plan) -> list[GraphNode]:
    """A node for each change of a plan, superseded ones left out."""
    nodes = []
    for change in plan.changes:
        if not change.superseded:
            has_run = change.verification is not None and not change.is_refused
            action = str(change.action.value)
            if change.is_refused:
                action = _REFUSED
            elif change.action is Action.NO_OP:
                action, has_run = (_VERIFY if has_run else ""), False
            nodes.append(GraphNode(change.address, change.depends_on, action, has_run))
    return nodes


def format_mermaid(nodes: Iterable[GraphNode]) -> str:
    """A flowchart that GitHub and GitLab draw in a ```mermaid block."""
    node_by_address = {node.address: node for node in nodes}
    for need in {need for node in node_by_address.values() for need in node.needs}:
        # A dependency that is not in the plan is drawn as well, without an action.
        node_by_address.setdefault(need, GraphNode(need))
    # Sorted, so that equal plans give equal texts; numbered, since Mermaid's ids allow few
    # characters.
    drawn_nodes = [node_by_address[address] for address in sorted(node_by_address)]
    names = {node.address: f"n{index}" for index, node in enumerate(drawn_nodes)}
    lines = ["flowchart LR"]
    for node in drawn_nodes:
        name = sanitize(cut_text(str(node.address), _MAX_LABEL_LENGTH))
        planned_text = f"{node.planned_action} and {_VERIFY}" * node.has_run or node.planned_action
        # Every character that could be markup is a Mermaid entity (`#35;`).
        label = "<br/>".join(
            _MERMAID_SPECIAL_CHARS.sub(lambda match: f"#{ord(match.group())};", text)
            for text in filter(None, (name, planned_text))
        )
        style = f":::{_format_mermaid_class(node.planned_action)}" if node.planned_action else ""
        lines.append(f'  {names[node.address]}["{label}"]{style}')
    lines += [
        f"  {names[node.address]} --> {names[need]}"
        for node in drawn_nodes
        for need in sorted(set(node.needs))
    ]
    for planned_action in sorted({n.planned_action for n in drawn_nodes if n.planned_action}):
        fill, stroke = _COLOURS[planned_action]
        dashes = ",stroke-dasharray:5 3" if planned_action == _REFUSED else ""
        lines.append(
            f"  classDef {_format_mermaid_class(planned_action)} "
            f"fill:{fill},stroke:{stroke},color:#000{dashes}"
        )
    return escape_ci_commands("\n".join(lines) + "\n")


def _format_mermaid_class(planned_action: str) -> str:
    # Prefixed, since `end` and `class` are keywords of Mermaid.
    return f"is{planned_action.replace('-', '').capitalize()}"
