"""In which order changes are made: dependencies first, independent of the order of files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from synapse_apply.model.address import Address

Graph = Mapping[Address, Collection[Address]]
Cycle = tuple[Address, ...]
_MAX_CYCLES = 10


def sort_by_dependencies_and_find_cycles(
    graph: Graph, rank: Callable[[Address], int]
) -> tuple[list[Address], list[Cycle]]:
    """Addresses after their dependencies, ties by (rank, address); and the dependency cycles.

    Dependencies that are no key of the graph are ignored, and so are the edges of cycles.
    """
    nodes = sorted(graph)
    if not any(graph.values()):
        # Nothing depends on anything, so there is no need to search ten thousand nodes for cycles.
        return sorted(nodes, key=rank), []  # ties stay in the order of addresses
    edges = {
        node: {need for need in graph[node] if need in graph and need != node} for node in nodes
    }
    cycles: list[Cycle] = [(node, node) for node in edges if node in graph[node]]
    for component in _strong_components(edges):
        cycles += _break_cycles(component, edges)
    sorter = TopologicalSorter(edges)
    sorter.prepare()
    ordered: list[Address] = []
    while sorter.is_active():
        batch = sorted(sorter.get_ready(), key=lambda address: (rank(address), address))
        ordered.extend(batch)
        sorter.done(*batch)
    return ordered, cycles


def _break_cycles(
    component: Collection[Address], edges: dict[Address, set[Address]]
) -> Iterator[Cycle]:
    """Yield the cycles of a strongly connected component, and remove their edges.

    Only the first of many are reported, as resolving these resolves others.
    """
    component_edges = {node: edges[node] & set(component) for node in component}
    for _ in range(_MAX_CYCLES):
        cycle = _find_cycle(component_edges)
        if cycle is None:
            return
        yield cycle
        for before, after in pairwise(cycle):
            component_edges[after].discard(before)
            edges[after].discard(before)
    # The edges of cycles beyond the limit go as well, or sorting would fail.
    for node, needs in component_edges.items():
        edges[node] -= needs


def _find_cycle(edges: Mapping[Address, set[Address]]) -> Cycle | None:
    try:
        TopologicalSorter({node: sorted(needs) for node, needs in edges.items()}).prepare()
    except CycleError as problem:
        ring = problem.args[1][:-1]
        # With a fixed start the same cycle is reported in the same way in every run.
        start = ring.index(min(ring))
        return (*ring[start:], *ring[:start], ring[start])
    return None


def _strong_components(edges: Mapping[Address, set[Address]]) -> list[list[Address]]:
    """The strongly connected components of more than one node (Tarjan), in linear time."""
    index: dict[Address, int] = {}
    low: dict[Address, int] = {}
    path: list[Address] = []
    on_path: set[Address] = set()
    components: list[list[Address]] = []
    for root in edges:
        if root in index:
            continue
        # An explicit stack, since recursion would fail on a long chain of dependencies.
        work = [(root, iter(sorted(edges[root])))]
        index[root] = low[root] = len(index)
        path.append(root)
        on_path.add(root)
        while work:
            node, needs = work[-1]
            need = next(needs, None)
            if need is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    component = [path.pop()]
                    while component[-1] != node:
                        component.append(path.pop())
                    on_path.difference_update(component)
                    if len(component) > 1:
                        components.append(sorted(component))
            elif need not in index:
                index[need] = low[need] = len(index)
                path.append(need)
                on_path.add(need)
                work.append((need, iter(sorted(edges[need]))))
            elif need in on_path:
                low[node] = min(low[node], index[need])
    return components
