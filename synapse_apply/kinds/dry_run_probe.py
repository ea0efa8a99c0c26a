"""Which call tests whether a server knows dry runs: an update of API v2 that changes no field."""

from __future__ import annotations

from synapse_apply.kinds.descriptor import Api
from synapse_apply.kinds.wire import require_remote_id_of_answer, to_wire_id


def send_unchanging_update(api: Api) -> bool:
    """Send an update without any field to the first listed plugin; False if there is no plugin."""
    for plugin in api.v2.iterate_plugins({"per_page": 1}):
        api.v2.update_plugin(to_wire_id(require_remote_id_of_answer(plugin)), {})
        return True
    return False
