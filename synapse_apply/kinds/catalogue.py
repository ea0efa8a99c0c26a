"""Which kinds there are, by the prefix of their addresses."""

from __future__ import annotations

from synapse_apply.kinds.descriptor import Catalogue
from synapse_apply.kinds.plugin import PLUGIN
from synapse_apply.kinds.release import RELEASE
from synapse_apply.kinds.storage import STORAGE

CATALOGUE: Catalogue = {kind.prefix: kind for kind in (STORAGE, PLUGIN, RELEASE)}
