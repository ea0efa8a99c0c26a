"""What an agent is. Its natural key is its token."""

from __future__ import annotations

from typing import Any

from synapse_apply.emulator.core.store import Row

HEALTHY = "connected"


def shown(row: Row, root: str) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.body.get("name", ""),
        "url": row.body.get("url") or root,
        "status": row.body.get("status", HEALTHY),
    }
