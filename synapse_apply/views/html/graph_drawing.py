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
_MAX_LABEL_CELLS, _CELL_WIDTH, _BOX_HEIGHT, _ROW_HEIGHT, _COLUMN_GAP, _MARGIN = (
    30,
    7.3,
    28,
    40,
    70,
    8,
)


@frozen
class _NodePosition:
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
        command = Command("graph --plan", target=target)
        return (
            f"<p>{len(needs):,} resources are too many to draw here: "
            f"<code>{cut_and_escape(command.format_command_line())}</code> writes them for "
            "Mermaid.</p>"
        )
    planned_actions = {a: node_by_address[a].planned_action for a in needs if a in node_by_address}
    return _render_svg(needs, planned_actions, row_id_by_address)


def _columns_by_depth(needs: Mapping[Address, Sequence[Address]]) -> list[list[Address]]:
    """Columns of addresses by their longest path from a resource that nothing depends on.

    A reference cycle stops growing at as many columns as there are nodes.
    """
    level = dict.fromkeys(needs, 0)
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
    columns: dict[int, list[Address]] = {}
    for address, column_level in level.items():
        columns.setdefault(column_level, []).append(address)
    return _sort_columns([columns[column_level] for column_level in sorted(columns)], needs)


def _sort_columns(
    columns: list[list[Address]], needs: Mapping[Address, Sequence[Address]]
) -> list[list[Address]]:
    """The columns, each sorted so that a node is near the average row of those that need it."""
    users: dict[Address, list[Address]] = {}
    for dependent, dependencies in needs.items():
        for need in dependencies:
            users.setdefault(need, []).append(dependent)
    row_positions: dict[Address, float] = {}

    def average_user_row(address: Address) -> tuple[float, Address]:
        user_positions = [
            row_positions[user] for user in users.get(address, ()) if user in row_positions
        ]
        return (sum(user_positions) / len(user_positions) if user_positions else 0.0, address)

    ordered = []
    for column in columns:
        ordered.append(sorted(column, key=average_user_row))
        row_positions.update({address: float(n) for n, address in enumerate(ordered[-1])})
    return ordered


def _render_svg(
    needs: Mapping[Address, Sequence[Address]],
    planned_actions: Mapping[Address, str],
    row_id_by_address: Mapping[str, str],
) -> str:
    positions: dict[Address, _NodePosition] = {}
    x: float = _MARGIN
    columns = _columns_by_depth(needs)
    tallest = max(map(len, columns))
    for column in columns:
        # SVG cannot measure text, so the width is estimated from the number of cells.
        width = max(measure_width(_label(a)) for a in column) * _CELL_WIDTH + 20
        top = _MARGIN + (tallest - len(column)) * _ROW_HEIGHT / 2
        positions |= {
            a: _NodePosition(x, top + n * _ROW_HEIGHT, width) for n, a in enumerate(column)
        }
        x += width + _COLUMN_GAP
    lines = "".join(
        _render_edge(positions[a], positions[b])
        for a, dependencies in needs.items()
        for b in dependencies
    )
    boxes = "".join(
        _render_node(a, position, planned_actions.get(a, ""), row_id_by_address)
        for a, position in positions.items()
    )
    width, height = (
        x - _COLUMN_GAP + _MARGIN,
        tallest * _ROW_HEIGHT - (_ROW_HEIGHT - _BOX_HEIGHT) + 2 * _MARGIN,
    )
    return (
        f'<div class="graph" tabindex="0" role="group" aria-label="Dependency graph">'
        f'<svg width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">'
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>'
        f"{lines}{boxes}</svg></div>"
    )


def _render_edge(source: _NodePosition, dependency: _NodePosition) -> str:
    start_x, start_y = source.x + source.width, source.y + _BOX_HEIGHT / 2
    end_x, end_y = dependency.x, dependency.y + _BOX_HEIGHT / 2
    # Bent by at least half a gap, so that an edge back to an earlier column is visible, too.
    bend = max(_COLUMN_GAP / 2, (end_x - start_x) / 2)
    return (
        f'<path class="edge" marker-end="url(#arrow)" d="M{start_x:.0f} '
        f"{start_y:.0f}C{start_x + bend:.0f} {start_y:.0f} "
        f'{end_x - bend:.0f} {end_y:.0f} {end_x:.0f} {end_y:.0f}"/>'
    )


def _render_node(
    address: Address,
    position: _NodePosition,
    planned_action: str,
    row_id_by_address: Mapping[str, str],
) -> str:
    action_text = f": {cut_and_escape(planned_action)}" if planned_action else ""
    title = f"{cut_and_escape(address)}{action_text}"
    shapes = (
        f"<title>{title}</title>"
        f'<rect x="{position.x:.0f}" y="{position.y:.0f}" width="{position.width:.0f}" '
        f'height="{_BOX_HEIGHT}" rx="5"/>'
        f'<text x="{position.x + 10:.0f}" '
        f'y="{position.y + 18:.0f}">'
        f"{cut_and_escape(_label(address))}</text>"
    )
    style = f"node {planned_action or 'same'}"
    row_id = row_id_by_address.get(str(address))
    if row_id:
        return f'<a class="{style}" href="#{row_id}">{shapes}</a>'
    return f'<g class="{style}">{shapes}</g>'


def _label(address: Address) -> str:
    full_label = sanitize(str(address)[:200])
    label, width = "", 0
    for char in full_label:
        width += measure_width(char)
        if width > _MAX_LABEL_CELLS:
            return f"{label}…"
        label += char
    return label
