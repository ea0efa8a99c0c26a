"""What `controller status` shows: the targets as the API lists them, of a store."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from synapse_apply.controller.page.api import MAX_ITEMS, list_targets_as_json
from synapse_apply.controller.page.readable_store import ReadableStore
from synapse_apply.controller.store.controller_store import SqliteControllerStore
from synapse_apply.model.json_types import JsonDocument


def read_stored_targets(data_folder: Path) -> JsonDocument:
    """All targets of the store in a data folder, as `targets_document` gives them."""
    with closing(SqliteControllerStore(data_folder)) as store:
        return targets_document(store)


def targets_document(store: ReadableStore) -> JsonDocument:
    """All targets of a controller's store as one TargetList of its API.

    One may be missing where it changed meanwhile.
    """

    def read_page(offset: int) -> JsonDocument:
        return list_targets_as_json(store, {"offset": f"{offset}", "limit": f"{MAX_ITEMS}"})

    document = read_page(0)
    items = list(document["items"])
    while len(items) < document["total"]:
        page = read_page(len(items))["items"]
        if not page:
            break
        items.extend(page)
    return {**document, "items": items}
