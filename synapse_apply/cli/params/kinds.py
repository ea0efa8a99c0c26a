"""Which kinds an option may name."""

from __future__ import annotations

from synapse_apply.kinds.catalogue import CATALOGUE

KIND_NAMES = tuple(sorted(CATALOGUE))
