"""Storage documents: the provider, and its configuration with the secrets wrapped."""

from __future__ import annotations

from typing import Any

from synapse_apply.manifests import shapes
from synapse_apply.manifests.draft import Context, Draft
from synapse_apply.manifests.secretfields import secured
from synapse_apply.manifests.wording import closest, did_you_mean
from synapse_apply.model.project import Provider

PREFIX = "storage"


def spec(context: Context, draft: Draft) -> dict[str, Any]:
    """The storage's fields; a provider that nobody describes is a warning, once a target."""
    provider = draft.spec["provider"]
    described = context.project.providers.get(provider)
    if described is not None:
        _check_keys(context, draft, described)
        # Whatever is not described would be taken for a secret, and told once more.
        given = draft.spec.get("configuration", {})
        known = {key: value for key, value in given.items() if key in described.keys}
        return secured(context, draft, {**draft.spec, "configuration": known})
    if provider not in shapes.provider_names() and provider not in context.unknown_providers:
        context.unknown_providers.add(provider)
        _warn_of_unknown(context, draft, provider)
    return secured(context, draft, draft.spec)


def _warn_of_unknown(context: Context, draft: Draft, provider: str) -> None:
    near = closest(provider, (*shapes.provider_names(), *context.project.providers))
    describe = (
        f"describe its keys under `providers: {{{provider}: {{keys: ...}}}}` of the project file"
    )
    context.warn(
        draft,
        ("spec", "provider"),
        "Unknown provider",
        f"the keys of provider `{provider}` are not known: none is checked, and every value"
        " is treated as a secret; write what is one as {valueFrom: {env: NAME}}",
        f"did you mean `{near}`? If not, {describe}" if near else describe,
    )


def _check_keys(context: Context, draft: Draft, provider: Provider) -> None:
    """The keys of a configuration against those that the project file lists."""
    given = draft.spec.get("configuration", {})
    for key in given:
        if key not in provider.keys:
            context.find(
                draft,
                ("spec", "configuration", key),
                "Unknown field",
                f"provider `{draft.spec['provider']}` has no key `{key}`",
                did_you_mean(key, sorted(provider.keys)),
            )
    for key in sorted(provider.required - given.keys()):
        context.find(
            draft,
            ("spec", "configuration"),
            "Missing field",
            f"provider `{draft.spec['provider']}` needs `{key}`",
            f"add {key}",
        )
