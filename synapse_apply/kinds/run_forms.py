"""The forms of a run. A module of its own: manifests are checked without what else a kind is."""

from __future__ import annotations

# A run as the platform takes it; the API page has parameters and context instead.
PLATFORM_FORM = ("action", "agent", "params")
