"""What the comparator sees of an object, as one digest: a saved plan notices what moved."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from synapse_apply.kinds.compare import canonical
from synapse_apply.kinds.descriptor import Compare
from synapse_apply.model.diagnostic import Path, pointer
from synapse_apply.model.values import ABSENT, dig
from synapse_apply.planning.situation import Item
from synapse_apply.planning.whole import is_secret, nested


def fingerprint(item: Item) -> str:
    """SHA-256 (hex) over the id and the live values of declared and recorded fields.

    Fields that are neither are not ours, so a change of theirs is no move. Without a record the
    salt is new in every run: a secret then counts as present, not by its digest.
    """
    observed = item.sighting.observed
    live = nested(item.live)
    ours = sorted({*item.want, *(item.record.applied if item.record else ())})
    seen = {pointer(path): _seen(item, path, dig(live, path)) for path in ours}
    document = {"id": observed.remote_id if observed else "", "fields": seen}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _seen(item: Item, path: Path, value: Any) -> str:
    if item.record is None and is_secret(value):
        return "secret"
    rule = item.type.rules.get(str(path[0]))
    if rule is not None and rule.write_only:
        value = ABSENT
    if isinstance(value, dict) and item.want.get(path) == {}:
        value = {}
    return canonical(value, rule.compare if rule is not None else Compare.EXACT)
