"""How a release document is decoded: its plugin, version, package source and `verify` block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.kinds.run_forms import (
    PAGE_FORM,
    PLATFORM_FORM,
    describe_at_most_ten_actions,
    list_action_names,
    to_platform_form,
)
from synapse_apply.manifests.decode.draft import PUBLISHED, DecodeContext, Draft
from synapse_apply.manifests.decode.plugin import PREFIX as PLUGIN
from synapse_apply.manifests.decode.plugin import report_field_if_config_contradicts
from synapse_apply.manifests.decode.secret_fields import replace_secrets_and_report_plain_text
from synapse_apply.manifests.schema.named_documents import (
    extract_declared_remote_id_or_none,
    parse_reference_or_remote_id,
)
from synapse_apply.manifests.yaml.reader import describe_value_kind
from synapse_apply.model.address import Address
from synapse_apply.model.coding.json_types import DecodedSpec
from synapse_apply.model.packages.versions import is_valid_version
from synapse_apply.model.resource import PackageSource
from synapse_apply.model.secrets.credentials import (
    contains_secret_of_known_form,
    format_unless_it_holds_secret_of_known_form,
)

PREFIX = "release"
_NON_FIELD_KEYS = frozenset(("source", "file", "verify"))


def parse_release_source_or_none(context: DecodeContext, draft: Draft) -> PackageSource | None:
    """Where the release's package comes from; None when absent or malformed."""
    return context.parse_package_source_or_none(draft, "file" if "file" in draft.spec else "source")


def resolve_release_version_or_none(context: DecodeContext, draft: Draft) -> str | None:
    """The declared version, else the package's; None where it has no valid form."""
    declared = draft.spec.get("version")
    if declared is None:
        declared = context.read_config_or_empty_reporting_once(
            parse_release_source_or_none(context, draft), draft
        )[0].get("version")
        if contains_secret_of_known_form(
            str(declared)
        ):  # it would be part of an address, which is shown everywhere
            return None
    return declared if isinstance(declared, str) and is_valid_version(declared) else None


def build_release_address_or_none(context: DecodeContext, draft: Draft) -> Address | None:
    """`release/PLUGIN@VERSION` or `release/id=123@VERSION`; None where a part is not known."""
    plugin = draft.spec.get("plugin")
    remote_plugin_id = extract_declared_remote_id_or_none(plugin)
    # A plugin that is referred to by its id needs no manifest, so it has no name here.
    owner = f"id={remote_plugin_id}" if remote_plugin_id else plugin
    release_version = resolve_release_version_or_none(context, draft)
    if not isinstance(owner, str) or not owner or release_version is None:
        return None
    return Address(PREFIX, f"{owner}@{release_version}")


def decode_release_spec_completing_version_from_config(
    context: DecodeContext, draft: Draft
) -> DecodedSpec:
    """The release's fields; `plugin` is a Reference, or the remote id as text."""
    fields = {key: value for key, value in draft.spec.items() if key not in _NON_FIELD_KEYS}
    fields["plugin"] = parse_reference_or_remote_id(PLUGIN, draft.spec["plugin"])
    source = parse_release_source_or_none(context, draft)
    config = context.read_config_or_empty_reporting_once(source, draft)
    _report_source_paths_outside_and_not_allowed(context, draft)
    if "version" in fields:
        report_field_if_config_contradicts(context, draft, "version", config, source)
    elif config_version := resolve_release_version_or_none(context, draft):
        fields["version"] = config_version
    return fields


def decode_verification_or_none_if_undeclared(
    context: DecodeContext, draft: Draft
) -> Mapping[str, Any] | None:
    """The `verify:` block in the form in which the run is started; None without one.

    A plugin that lists actions is run in the platform's form, which names one of them. Mixing both
    forms, and an action that is not listed, are reported.
    """
    verify = draft.spec.get("verify")
    if verify is None:
        return None
    block: Mapping[str, Any] = replace_secrets_and_report_plain_text(
        context, draft, {"verify": verify}
    )["verify"]
    page_keys, platform_keys = (
        [key for key in form if key in verify] for form in (PAGE_FORM, PLATFORM_FORM)
    )
    # Which form would win depends on the server, so it must be decided in the manifest.
    if page_keys and platform_keys:
        context.report_finding(
            draft,
            ("spec", "verify", platform_keys[0]),
            "Two forms of a run",
            f"`{platform_keys[0]}` is one of the platform's fields, `{page_keys[0]}` one of the "
            f"API page's",
            f"use either {', '.join(PAGE_FORM)} or {', '.join(PLATFORM_FORM)}",
        )
        return block
    actions = _list_actions_of_config_or_declared(context, draft)
    action = _select_action_or_report(context, draft, actions) if actions else None
    if action is None:
        return block
    if context.target.is_embedded and not platform_keys:
        # The page's profile shows a run's context, by which a run with a lost answer is found.
        block = {"context": {}, **block}
    return to_platform_form(block, action)


def _list_actions_of_config_or_declared(context: DecodeContext, draft: Draft) -> tuple[str, ...]:
    """The names of the actions in the package's config.yaml, else in the declared `config`."""
    config = context.read_config_or_empty_reporting_once(
        parse_release_source_or_none(context, draft), draft
    )[0]
    return list_action_names(config) or list_action_names(draft.spec.get("config"))


def _select_action_or_report(
    context: DecodeContext, draft: Draft, actions: tuple[str, ...]
) -> str | None:
    """The action to run; None (reported) where it is not listed, or not named among several."""
    verify = draft.spec["verify"]
    declared = verify.get("action")
    if declared in actions:
        return str(declared)
    actions_text = format_unless_it_holds_secret_of_known_form(
        describe_at_most_ten_actions(actions)
    )
    if declared:
        context.report_finding(
            draft,
            ("spec", "verify", "action"),
            "No such action",
            f"`verify.action` names an action that the plugin does not list; it lists "
            f"{actions_text}",
            "name one of them",
        )
        return None
    if len(actions) == 1:
        return actions[0]
    first_action = format_unless_it_holds_secret_of_known_form(
        describe_at_most_ten_actions(actions[:1])
    )
    hint = f"add `action: {first_action}`, or another one"
    if any(name in verify for name in PAGE_FORM):
        hint += "; parameters stand under `params` then"
    context.report_finding(
        draft,
        ("spec", "verify"),
        "Missing action",
        f"a run needs `verify.action` where a plugin lists several actions; it lists "
        f"{actions_text}",
        hint,
    )
    return None


def _report_source_paths_outside_and_not_allowed(context: DecodeContext, draft: Draft) -> None:
    for key in ("source", "file"):
        value = draft.spec.get(key)
        if value != PUBLISHED:
            path = value.get("path") if isinstance(value, dict) else value
            context.report_path_if_outside_project_and_not_allowed(draft, ("spec", key), path)


def report_missing_version_or_malformed_config_version(
    context: DecodeContext, draft: Draft
) -> None:
    """Report why no version is known; a declared one that is malformed the schema has reported."""
    if draft.spec.get("version") is not None or draft.is_unknown_at_or_above(("spec", "version")):
        return
    source = parse_release_source_or_none(context, draft)
    if source is None or context.was_unreadable(source):
        _report_source_paths_outside_and_not_allowed(context, draft)
        return
    config, positions = context.read_config_or_empty_reporting_once(source)
    config_version = config.get("version")
    if config_version is None:
        source_text = (
            f"the config.yaml of {source}" if source.kind != PUBLISHED else "a published package"
        )
        context.report_finding(
            draft,
            ("spec",),
            "Missing version",
            f"`spec` has no `version`, and {source_text} gives none",
            "add `version:`",
        )
        return
    version_position = positions.get(("version",))
    if not isinstance(config_version, str):
        context.mark_flaw_reported(source, "package:version")
    context.report_finding(
        draft,
        ("spec",),
        "Malformed version",
        f"`version` is {describe_value_kind(config_version)} "
        f"({format_unless_it_holds_secret_of_known_form(config_version)}) "
        "in the package's config.yaml" + (f" ({version_position})" if version_position else ""),
        "quote it, and use letters, digits, `.`, `_`, `+` and `-`, at most 64",
    )
