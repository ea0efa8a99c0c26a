"""How an agent is shown in answers; its natural key is its token."""

from __future__ import annotations

from synapse_apply.emulator.core.fields import AnswerObject
from synapse_apply.emulator.core.store import StoredObject

HEALTHY = "connected"


def build_agent_json(row: StoredObject, root: str) -> AnswerObject:
    return {
        "id": row.id,
        "name": row.body.get("name", ""),
        "url": row.body.get("url") or root,
        "status": row.body.get("status", HEALTHY),
    }
