"""Storage documents: the provider, and its configuration with the secrets wrapped."""

from __future__ import annotations

from typing import Any

from synapse_apply.manifests import shapes
from synapse_apply.manifests.draft import Context, Draft
from synapse_apply.manifests.secretfields import secured
from synapse_apply.manifests.wording import closest

PREFIX = "storage"


def spec(context: Context, draft: Draft) -> dict[str, Any]:
    """The storage's fields; a provider without a schema is a warning."""
    provider = draft.spec["provider"]
    known = shapes.provider_names()
    if provider not in known:
        near = closest(provider, known)
        context.warn(
            draft,
            ("spec", "provider"),
            "Unknown provider",
            f"the keys of provider `{provider}` are not known: none is checked, and every value"
            " is treated as a secret; write what is one as {valueFrom: {env: NAME}}",
            f"did you mean `{near}`?" if near else "known: " + ", ".join(known),
        )
    return secured(context, draft, draft.spec)
