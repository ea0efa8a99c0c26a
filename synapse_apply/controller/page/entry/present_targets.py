"""How all targets of a filter are read, however many: page by page."""

from __future__ import annotations

from collections.abc import Iterator

from synapse_apply.controller.rows import TargetRow
from synapse_apply.controller.store_ports import ReadableStore, TargetFilter

_TARGETS_PER_PAGE = 1000


def iter_present_targets(store: ReadableStore, target_filter: TargetFilter) -> Iterator[TargetRow]:
    """Every target that matches, by state and name; none that is gone.

    One that changes its state between two pages may come twice, or not at all.
    """
    offset = 0
    while True:
        page = store.read_page_of_present_targets(target_filter, offset, _TARGETS_PER_PAGE)
        yield from page.targets
        offset += len(page.targets)
        if len(page.targets) < _TARGETS_PER_PAGE:
            return
