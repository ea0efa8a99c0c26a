"""The dependency graph as SVG: what is needed stands to the right of what needs it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from synapse_apply.model.address import Address
from synapse_apply.model.frozen import frozen
from synapse_apply.views.cells import cells
from synapse_apply.views.graph import Node
from synapse_apply.views.html.parts import text
from synapse_apply.views.safety import clean

MOST = 150
_WIDEST, _CELL, _HIGH, _DOWN, _GAP, _EDGE = 30, 7.3, 28, 40, 70, 8


@frozen
class _Place:
    x: float
    y: float
    wide: float


def drawing(nodes: Iterable[Node], rows: Mapping[str, str], target: str = "") -> str:
    """What is planned and what it needs; "" where nothing needs anything.

    `rows` leads from an address to the id of its row on the page. `target` is what a command names.
    """
    known = {node.address: node for node in nodes}
    near = {
        address
        for node in known.values()
        for address in (node.address, *node.needs)
        if node.planned or any(known.get(need, node).planned for need in node.needs)
    }
    needs = {a: sorted(near & set(known[a].needs)) if a in known else [] for a in sorted(near)}
    linked = {a for a in needs if needs[a]} | set(chain.from_iterable(needs.values()))
    needs = {a: wanted for a, wanted in needs.items() if a in linked}
    if not needs:
        return ""
    if len(needs) > MOST:
        at = f" -t {text(target)}" if target else ""
        return (
            f"<p>{len(needs):,} resources are too many to draw here: "
            f"<code>synapse-apply graph --plan --format dot{at}</code> writes them for "
            "Graphviz.</p>"
        )
    planned = {a: known[a].planned for a in needs if a in known}
    return _svg(needs, planned, rows)


def _columns(needs: Mapping[Address, Sequence[Address]]) -> list[list[Address]]:
    """By the longest way from a resource that nothing needs; a circle ends where it closes."""
    level = dict.fromkeys(needs, 0)
    for _ in needs:
        moved = False
        for one, wanted in needs.items():
            for need in wanted:
                if level[need] <= level[one] < len(needs):
                    level[need] = level[one] + 1
                    moved = True
        if not moved:
            break
    columns: dict[int, list[Address]] = {}
    for address, at in level.items():
        columns.setdefault(at, []).append(address)
    return _untangled([columns[at] for at in sorted(columns)], needs)


def _untangled(
    columns: list[list[Address]], needs: Mapping[Address, Sequence[Address]]
) -> list[list[Address]]:
    """What is needed stands near the middle of what needs it."""
    users: dict[Address, list[Address]] = {}
    for one, wanted in needs.items():
        for need in wanted:
            users.setdefault(need, []).append(one)
    at: dict[Address, float] = {}

    def middle(address: Address) -> tuple[float, Address]:
        seen = [at[user] for user in users.get(address, ()) if user in at]
        return (sum(seen) / len(seen) if seen else 0.0, address)

    ordered = []
    for column in columns:
        ordered.append(sorted(column, key=middle))
        at.update({address: float(n) for n, address in enumerate(ordered[-1])})
    return ordered


def _svg(
    needs: Mapping[Address, Sequence[Address]],
    planned: Mapping[Address, str],
    rows: Mapping[str, str],
) -> str:
    places: dict[Address, _Place] = {}
    x: float = _EDGE
    columns = _columns(needs)
    tallest = max(map(len, columns))
    for column in columns:
        wide = max(cells(_label(a)) for a in column) * _CELL + 20
        down = _EDGE + (tallest - len(column)) * _DOWN / 2
        places |= {a: _Place(x, down + n * _DOWN, wide) for n, a in enumerate(column)}
        x += wide + _GAP
    lines = "".join(_line(places[a], places[b]) for a, wanted in needs.items() for b in wanted)
    boxes = "".join(_box(a, at, planned.get(a, ""), rows) for a, at in places.items())
    wide, high = x - _GAP + _EDGE, tallest * _DOWN - (_DOWN - _HIGH) + 2 * _EDGE
    return (
        f'<div class="graph" tabindex="0" role="group" aria-label="Dependency graph">'
        f'<svg width="{wide:.0f}" height="{high:.0f}" viewBox="0 0 {wide:.0f} {high:.0f}">'
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>'
        f"{lines}{boxes}</svg></div>"
    )


def _line(one: _Place, other: _Place) -> str:
    a, b = one.x + one.wide, one.y + _HIGH / 2
    c, d = other.x, other.y + _HIGH / 2
    bend = max(_GAP / 2, (c - a) / 2)
    return (
        f'<path class="edge" marker-end="url(#arrow)" d="M{a:.0f} {b:.0f}C{a + bend:.0f} {b:.0f} '
        f'{c - bend:.0f} {d:.0f} {c:.0f} {d:.0f}"/>'
    )


def _box(address: Address, at: _Place, planned: str, rows: Mapping[str, str]) -> str:
    said = f"{text(address)}{f': {text(planned)}' if planned else ''}"
    drawn = (
        f"<title>{said}</title>"
        f'<rect x="{at.x:.0f}" y="{at.y:.0f}" width="{at.wide:.0f}" height="{_HIGH}" rx="5"/>'
        f'<text x="{at.x + 10:.0f}" y="{at.y + 18:.0f}">{text(_label(address))}</text>'
    )
    style = f"node {planned or 'same'}"
    row = rows.get(str(address))
    if row:
        return f'<a class="{style}" href="#{row}">{drawn}</a>'
    return f'<g class="{style}">{drawn}</g>'


def _label(address: Address) -> str:
    whole = clean(str(address)[:200])
    kept, wide = "", 0
    for char in whole:
        wide += cells(char)
        if wide > _WIDEST:
            return f"{kept}…"
        kept += char
    return kept
