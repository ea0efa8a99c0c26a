"""How a plugin document is decoded, and which fields `from` takes from a package's config.yaml."""

from __future__ import annotations

from synapse_apply.manifests.decode.draft import ConfigWithPositions, DecodeContext, Draft
from synapse_apply.manifests.yaml.reader import describe_value_kind
from synapse_apply.model.coding.json_types import DecodedSpec
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.resource import PackageSource
from synapse_apply.model.secrets.credentials import format_unless_it_holds_secret_of_known_form

PREFIX = "plugin"
_CONFIG_FIELDS = ("name", "code", "description", "category")
_NON_FIELD_KEYS = frozenset(("from", "retain"))


def decode_plugin_spec_completed_from_config(context: DecodeContext, draft: Draft) -> DecodedSpec:
    """The plugin's fields, the missing ones taken from `from`; contradictions are reported."""
    fields = {key: value for key, value in draft.spec.items() if key not in _NON_FIELD_KEYS}
    if "from" not in draft.spec:
        return fields
    source = context.parse_package_source_or_none(draft, "from")
    if source is None:
        value = draft.spec["from"]
        path = value.get("path") if isinstance(value, dict) else value
        context.report_path_if_outside_project_and_not_allowed(draft, ("spec", "from"), path)
        return fields
    config = context.read_config_or_empty_reporting_once(source, draft)
    for key in _CONFIG_FIELDS:
        config_value = config[0].get(key)
        # A value of another type is a flaw of the package, reported when the package is checked.
        if config_value is None or not isinstance(config_value, str):
            continue
        if key in fields:
            report_field_if_config_contradicts(context, draft, key, config, source)
        else:
            fields[key] = config_value
            if (position := config[1].get((key,))) is not None:
                draft.positions = {**draft.positions, ("spec", key): position}
    if context.was_read_and_has_no_config(source):
        context.mark_flaw_reported(source, "package:no-config")
        context.report_finding(
            draft,
            ("spec", "from"),
            "Package without config.yaml",
            f"`from` takes the plugin's fields out of a config.yaml, and {source} has none",
            "name the plugin's own folder, see that no ignore rule leaves the file out, or take "
            "`from` out and write the fields here",
        )
    # Without a reader nothing is known about the package, so nothing can be missing.
    elif (
        "name" not in fields
        and not draft.is_unknown_at_or_above(("spec", "name"))
        and context.read_package_config_or_none
        and not context.was_unreadable(source)
    ):
        context.report_finding(
            draft,
            ("spec", "from"),
            "Missing field",
            f"`spec` has no `name`, and the config.yaml of {source} has none",
            "add `name:` to either",
        )
    return fields


def report_field_if_config_contradicts(
    context: DecodeContext,
    draft: Draft,
    key: str,
    config: ConfigWithPositions,
    source: PackageSource | None,
) -> None:
    """Report a field of the manifest that its package's config.yaml contradicts."""
    manifest_value, config_value = draft.spec.get(key), config[0].get(key)
    if manifest_value is None or config_value is None or manifest_value == str(config_value):
        return
    hint = "make both the same, or remove it here"
    shown_value = format_unless_it_holds_secret_of_known_form(config_value)
    if not isinstance(config_value, str):
        shown_value = f"{describe_value_kind(config_value)} ({shown_value})"
        hint = f"quote it there; {hint}"
        context.mark_flaw_reported(source, f"package:{key}")
    config_position = config[1].get((key,))
    context.report_finding(
        draft,
        ("spec", key),
        "Manifest and package disagree",
        f"`{format_field_path(('spec', key))}` is {manifest_value}, but `{key}` is {shown_value} "
        f"in the package's"
        f" config.yaml" + (f" ({config_position})" if config_position else ""),
        hint,
    )
