"""The order things are done in: dependencies first, and the same for any order of files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from synapse_apply.model.address import Address, in_order

Graph = Mapping[Address, Collection[Address]]
Cycle = tuple[Address, ...]


def dependency_order(
    graph: Graph, rank: Callable[[Address], int]
) -> tuple[list[Address], list[Cycle]]:
    """Addresses with what they depend on before them, ties by (rank, address); and every cycle.

    Dependencies that are no key of the graph are left out. The edges of a cycle do not order.
    """
    nodes = in_order(graph)
    if not any(graph.values()):
        # Nothing depends on anything: no need to look for cycles among ten thousand nodes.
        return sorted(nodes, key=rank), []  # ties stay in the order of addresses
    edges = {
        node: {need for need in graph[node] if need in graph and need != node} for node in nodes
    }
    cycles: list[Cycle] = [(node, node) for node in edges if node in graph[node]]
    while (cycle := _find_cycle(edges)) is not None:
        cycles.append(cycle)
        for before, after in pairwise(cycle):
            edges[after].discard(before)
    return _batches(edges, rank), cycles


def _find_cycle(edges: Mapping[Address, set[Address]]) -> Cycle | None:
    try:
        TopologicalSorter({node: sorted(needs) for node, needs in edges.items()}).prepare()
    except CycleError as found:
        ring = found.args[1][:-1]
        first = ring.index(min(ring))
        return (*ring[first:], *ring[:first], ring[first])
    return None


def _batches(
    edges: Mapping[Address, set[Address]], rank: Callable[[Address], int]
) -> list[Address]:
    sorter = TopologicalSorter(edges)
    sorter.prepare()
    ordered: list[Address] = []
    while sorter.is_active():
        batch = sorted(sorter.get_ready(), key=lambda address: (rank(address), address))
        ordered.extend(batch)
        sorter.done(*batch)
    return ordered
