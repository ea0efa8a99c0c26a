"""An import of several rows at once."""

from __future__ import annotations

import threading
from contextlib import suppress

from synapse_apply.model.address import Address
from synapse_apply.operations.import_ import record_all_live_objects_or_none
from synapse_apply.workspace.inventory_rows import InventoryRow


def test_rows_of_one_owner_that_are_read_at_once_have_its_name(bench, monkeypatch):
    """None takes the owner that another one still reads for one that cannot be read."""
    bench.api.make("plugin", {"name": "yolo", "code": "yolo"})
    both, get_plugin = threading.Barrier(2), bench.api.get_plugin
    rows = {}
    for version in ("1.0.0", "1.1.0"):
        made = bench.api.create_plugin_release({"plugin": 1, "version": version})
        rows[Address("release", f"yolo@{version}")] = InventoryRow(str(made["id"]))

    def get_slowly(pk):
        with suppress(threading.BrokenBarrierError):
            both.wait(2)
        return get_plugin(pk)

    monkeypatch.setattr(bench.api, "get_plugin", get_slowly)
    session = bench.context()
    session.parallelism = 2
    records = record_all_live_objects_or_none(session, rows)
    assert [record.natural_key for record in records] == ["code=yolo@1.0.0", "code=yolo@1.1.0"]
