"""How a storage document is decoded: its provider, and the secrets of its configuration."""

from __future__ import annotations

from synapse_apply.manifests.decode.draft import DecodeContext, Draft
from synapse_apply.manifests.decode.secret_fields import replace_secrets_and_report_plain_text
from synapse_apply.manifests.schema import schemas
from synapse_apply.model.coding.json_types import DecodedSpec
from synapse_apply.model.phrases import (
    MAX_SUGGESTIONS,
    find_word_with_same_prefix_or_closest_or_empty,
    format_short_list,
)
from synapse_apply.model.project import Provider

PREFIX = "storage"


def decode_storage_spec_replacing_secrets(context: DecodeContext, draft: Draft) -> DecodedSpec:
    """The storage's fields with secrets replaced; an unknown provider is noted, for one warning."""
    provider = draft.spec["provider"]
    provider_description = context.project.providers.get(provider)
    if provider_description is not None:
        _report_unknown_and_missing_configuration_keys(context, draft, provider_description)
        # A key that is not described would be treated as a secret, and reported a second time.
        configuration = draft.spec.get("configuration", {})
        known_configuration = {
            key: value for key, value in configuration.items() if key in provider_description.keys
        }
        return replace_secrets_and_report_plain_text(
            context, draft, {**draft.spec, "configuration": known_configuration}
        )
    if provider not in schemas.list_providers_with_schema() and not draft.is_unknown_at_or_above(
        ("spec", "provider")
    ):
        context.drafts_by_unknown_provider.setdefault(provider, []).append(draft)
    return replace_secrets_and_report_plain_text(context, draft, draft.spec)


def warn_once_of_each_unknown_provider(context: DecodeContext) -> None:
    """Report the unknown providers of all storages that were decoded, each at one of them."""
    for provider, drafts in sorted(context.drafts_by_unknown_provider.items()):
        _warn_of_unknown_provider(context, drafts, provider)


def _warn_of_unknown_provider(context: DecodeContext, drafts: list[Draft], provider: str) -> None:
    closest_name = find_word_with_same_prefix_or_closest_or_empty(
        provider, (*schemas.list_providers_with_schema(), *context.project.providers)
    )
    describe_hint = (
        f"describe its keys under `providers: {{{provider}: {{keys: ...}}}}` of the project file"
    )
    count_text = f" ({len(drafts)} storages)" if len(drafts) > 1 else ""
    context.report_warning(
        # The first by its address, so that the warning is the same for any order of files.
        min(drafts, key=lambda draft: str(draft.address)),
        ("spec", "provider"),
        "Unknown provider",
        f"the keys of provider `{provider}` are not known{count_text}: none is checked, and every"
        " value is treated as a secret; write what is one as {valueFrom: {env: NAME}}",
        f"did you mean `{closest_name}`? If not, {describe_hint}"
        if closest_name
        else describe_hint,
    )


def _report_unknown_and_missing_configuration_keys(
    context: DecodeContext, draft: Draft, provider: Provider
) -> None:
    """Report keys that the project file's description of the provider lacks or requires."""
    configuration = draft.spec.get("configuration", {})
    for key in configuration:
        if key not in provider.keys:
            context.report_finding(
                draft,
                ("spec", "configuration", key),
                "Unknown field",
                f"provider `{draft.spec['provider']}` has no key `{key}`",
                context.hints.suggest(key, provider.keys),
            )
    missing_keys = sorted(provider.required - configuration.keys())
    if len(missing_keys) > MAX_SUGGESTIONS:
        missing_keys = [format_short_list(missing_keys)]
    for key in missing_keys:
        context.report_finding(
            draft,
            ("spec", "configuration"),
            "Missing field",
            f"provider `{draft.spec['provider']}` needs `{key}`",
            f"add {key}",
        )
