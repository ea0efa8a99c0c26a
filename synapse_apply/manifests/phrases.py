"""Words of manifests that messages and exports write."""

from __future__ import annotations

VALUE_FROM = "valueFrom"
FILL_IN = "CHANGE-ME"  # `synapse-apply new` writes it where the user has to give a value
ONLY_FOR_SECRETS = "valueFrom is only for secret fields"
