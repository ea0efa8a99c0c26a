"""Whose a plugin on the server is: the tenant's own, another tenant's, or the platform's.

Lists show public plugins of other tenants, too. Those are left out here, so that none is found,
exported or adopted; one of the platform is refused in a plan (`planning/decide_declared.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from synapse_apply.kinds.descriptor import Api
from synapse_apply.model.coding.json_types import ServerObject


def is_platform_owned(raw: ServerObject) -> bool:
    """Whether only the platform may change a plugin, by `system_only` or a public one of nobody."""
    has_no_tenant = "tenant" in raw and raw["tenant"] is None and raw.get("is_public") is True
    return raw.get("system_only") is True or has_no_tenant


def may_belong_to_tenant(api: Api, raw: ServerObject) -> bool:
    """Whether a plugin may be the tenant's own.

    False only if the answer says so: by a tenant's name other than ours, where ours is known. A
    tenant's id cannot be compared with our name.
    """
    if is_platform_owned(raw):
        return False
    owner, tenant = raw.get("tenant"), api.tenant.casefold()
    if isinstance(owner, Mapping):
        names = [owner[name] for name in ("code", "name", "slug") if name in owner]
    else:
        names = [owner]
    owner_names = {name.casefold() for name in names if isinstance(name, str) and name}
    return not tenant or not owner_names or tenant in owner_names


def select_tenant_plugins(api: Api, plugins: Sequence[ServerObject]) -> Sequence[ServerObject]:
    """The plugins that may be the tenant's own, in their order."""
    return [raw for raw in plugins if may_belong_to_tenant(api, raw)]
