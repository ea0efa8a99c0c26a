"""How the dependency graph is laid out and drawn as SVG; dependencies are on the right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from synapse_apply.model.address import Address
from synapse_apply.model.command import Command
from synapse_apply.model.frozen import frozen
from synapse_apply.views.graph import GraphNode
from synapse_apply.views.html.parts import cut_and_escape
from synapse_apply.views.sanitize import sanitize
from synapse_apply.views.text.terminal import measure_width

MAX_DRAWN_NODES = 150
_MAX_LABEL_CELLS, _CELL_WIDTH, _BOX_HEIGHT, _ROW_HEIGHT = 30, 7.3, 28, 40
_COLUMN_GAP, _MARGIN = 70, 8
_Needs = Mapping[Address, Sequence[Address]]


@frozen
class _Box:
    x: float
    y: float
    width: float


def draw_planned(
    nodes: Iterable[GraphNode], row_id_by_address: Mapping[str, str], target: str = ""
) -> str:
    """An SVG of planned resources and their neighbours; "" where nothing depends on anything.

    `row_id_by_address` maps an address, as text, to the id of its row on the page. `target` is for
    the command that is shown in place of a graph of more than MAX_DRAWN_NODES.
    """
    node_by_address = {node.address: node for node in nodes}
    # Unchanged resources are drawn only next to a change, or the change would be lost among them.
    near_planned = {
        address
        for node in node_by_address.values()
        for address in (node.address, *node.needs)
        if node.planned_action
        or any(node_by_address.get(need, node).planned_action for need in node.needs)
    }
    needs = {
        a: sorted(near_planned & set(node_by_address[a].needs)) if a in node_by_address else []
        for a in sorted(near_planned)
    }
    linked_addresses = {a for a in needs if needs[a]} | set(chain.from_iterable(needs.values()))
    needs = {a: dependencies for a, dependencies in needs.items() if a in linked_addresses}
    if not needs:
        return ""
    # A larger drawing is unreadable, and slow to lay out.
    if len(needs) > MAX_DRAWN_NODES:
        command = Command("plan --graph", target=target)
        return (
            f"<p>The graph of {len(needs):,} resources is too large to draw here. "
            f"<code>{cut_and_escape(command.format_command_line())}</code> writes the graph for "
            "Mermaid.</p>"
        )
    boxes: dict[Address, _Box] = {}
    x: float = _MARGIN
    columns = _columns(needs)
    tallest = max(map(len, columns))
    for column in columns:
        # SVG cannot measure text, so the width is estimated from the number of cells.
        width = max(measure_width(_label(a)) for a in column) * _CELL_WIDTH + 20
        top = _MARGIN + (tallest - len(column)) * _ROW_HEIGHT / 2
        boxes |= {a: _Box(x, top + n * _ROW_HEIGHT, width) for n, a in enumerate(column)}
        x += width + _COLUMN_GAP
    width = x - _COLUMN_GAP + _MARGIN
    height = tallest * _ROW_HEIGHT - (_ROW_HEIGHT - _BOX_HEIGHT) + 2 * _MARGIN
    edges = (_edge(boxes[a], boxes[need]) for a, all_needs in needs.items() for need in all_needs)
    drawn = (
        _node(a, box, node_by_address.get(a, GraphNode(a)), row_id_by_address.get(str(a), ""))
        for a, box in boxes.items()
    )
    return (
        '<div class="graph" tabindex="0" role="group" aria-label="Dependency graph">'
        f'<svg width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">'
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>'
        f"{''.join(edges)}{''.join(drawn)}</svg></div>"
    )


def _columns(needs: _Needs) -> list[list[Address]]:
    """Columns of addresses by their longest path from a resource that nothing depends on.

    A reference cycle stops growing at as many columns as there are nodes. Each is sorted so that a
    node is near the average row of those that need it.
    """
    level = dict.fromkeys(needs, 0)
    users: dict[Address, list[Address]] = {}
    # Repeated until nothing moves; a path without a cycle has at most as many steps as nodes.
    for _ in needs:
        has_changed = False
        for user, dependencies in needs.items():
            for need in dependencies:
                if level[need] <= level[user] < len(needs):
                    level[need] = level[user] + 1
                    has_changed = True
        if not has_changed:
            break
    for user, dependencies in needs.items():
        for need in dependencies:
            users.setdefault(need, []).append(user)
    rows: dict[Address, int] = {}

    def average_user_row(address: Address) -> tuple[float, Address]:
        user_rows = [rows[user] for user in users.get(address, ()) if user in rows]
        return (sum(user_rows) / len(user_rows) if user_rows else 0.0, address)

    columns = []
    for column_level in sorted(set(level.values())):
        of_level = (address for address in level if level[address] == column_level)
        columns.append(sorted(of_level, key=average_user_row))
        rows |= {address: row for row, address in enumerate(columns[-1])}
    return columns


def _edge(source: _Box, dependency: _Box) -> str:
    start_x, start_y = source.x + source.width, source.y + _BOX_HEIGHT / 2
    end_x, end_y = dependency.x, dependency.y + _BOX_HEIGHT / 2
    # Bent by at least half a gap, so that an edge back to an earlier column is visible, too.
    bend = max(_COLUMN_GAP / 2, (end_x - start_x) / 2)
    return (
        f'<path class="edge" marker-end="url(#arrow)" d="M{start_x:.0f} '
        f"{start_y:.0f}C{start_x + bend:.0f} {start_y:.0f} "
        f'{end_x - bend:.0f} {end_y:.0f} {end_x:.0f} {end_y:.0f}"/>'
    )


def _node(address: Address, box: _Box, node: GraphNode, row_id: str) -> str:
    action_text = f": {cut_and_escape(node.planned_action)}" if node.planned_action else ""
    shapes = (
        f"<title>{cut_and_escape(address)}{action_text}</title>"
        f'<rect x="{box.x:.0f}" y="{box.y:.0f}" width="{box.width:.0f}" '
        f'height="{_BOX_HEIGHT}" rx="5"/>'
        f'<text x="{box.x + 10:.0f}" y="{box.y + 18:.0f}">{cut_and_escape(_label(address))}</text>'
    )
    style = f"node {node.planned_action or 'same'}"
    if row_id:
        return f'<a class="{style}" href="#{row_id}">{shapes}</a>'
    return f'<g class="{style}">{shapes}</g>'


def _label(address: Address) -> str:
    label, width = "", 0
    for char in sanitize(str(address)[:200]):
        width += measure_width(char)
        if width > _MAX_LABEL_CELLS:
            return f"{label}…"
        label += char
    return label
