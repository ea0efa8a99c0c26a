"""How a plugin, a release and a storage document are decoded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.run_forms import (
    PAGE_FORM,
    PLATFORM_FORM,
    describe_actions,
    list_action_names,
    to_platform_form,
)
from synapse_apply.manifests.decode.draft import (
    PUBLISHED,
    ConfigWithPositions,
    DecodeContext,
    Draft,
)
from synapse_apply.manifests.decode.secret_fields import replace_secrets
from synapse_apply.manifests.schema import schemas
from synapse_apply.manifests.yaml.reader import describe_value_kind
from synapse_apply.model.address import Address
from synapse_apply.model.coding.json_types import DecodedSpec
from synapse_apply.model.diagnostic import Severity
from synapse_apply.model.packages import is_valid_version
from synapse_apply.model.phrases import (
    MAX_SUGGESTIONS,
    find_similar_word,
    format_field_path,
    format_short_list,
)
from synapse_apply.model.project import Provider
from synapse_apply.model.resource import PackageSource
from synapse_apply.model.secrets.credentials import contains_secret, format_unless_secret
from synapse_apply.model.values import Reference


def named_address(draft: Draft) -> Address | None:
    """The address KIND/NAME of `metadata.name`; None without a name."""
    name = draft.metadata.get("name")
    return Address(draft.schema, name) if isinstance(name, str) and name else None


def decode_spec(draft: Draft) -> DecodedSpec:
    """The spec's fields; one that refers to another object is a Reference, or a remote id."""
    fields = dict(draft.spec)
    for name, rule in CATALOGUE[draft.schema].rules.items():
        if rule.references and name in fields:
            fields[name] = parse_reference(rule.references, fields[name])
    return fields


def parse_reference(kind: str, value: Any) -> str | Reference:
    """A Reference to the address of a name, or the remote id of `{id: 123}` as text."""
    return declared_remote_id(value) or Reference(Address(kind, value))


def declared_remote_id(value: Any) -> str | None:
    """The remote id of `{id: 123}` as text; None for anything else."""
    # bool is an int in Python, and `{id: true}` names no object.
    raw_id = value.get("id") if isinstance(value, dict) else None
    return str(raw_id) if raw_id is not None and not isinstance(raw_id, bool) else None


PLUGIN = "plugin"
_CONFIG_FIELDS = ("name", "code", "description", "category")
_PLUGIN_KEYS = frozenset(("from", "retain"))


def decode_plugin(draft: Draft) -> DecodedSpec:
    """The plugin's fields, the missing ones taken from `from`; contradictions are reported."""
    fields = {key: value for key, value in draft.spec.items() if key not in _PLUGIN_KEYS}
    if "from" not in draft.spec:
        return fields
    source = draft.package_source("from")
    if source is None:
        draft.report_outside_path("from")
        return fields
    config = draft.context.read_config(source, draft)
    for key in _CONFIG_FIELDS:
        config_value = config[0].get(key)
        # A value of another type is a flaw of the package, reported when the package is checked.
        if config_value is None or not isinstance(config_value, str):
            continue
        if key in fields:
            report_contradiction(draft, key, config, source)
        else:
            fields[key] = config_value
            if (position := config[1].get((key,))) is not None:
                draft.positions = {**draft.positions, ("spec", key): position}
    if draft.context.lacks_config(source):
        draft.context.mark_flaw_reported(source, "package:no-config")
        draft.report(
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
        and draft.context.read_package_config
        and not draft.context.was_unreadable(source)
    ):
        draft.report(
            ("spec", "from"),
            "Missing field",
            f"`spec` has no `name`, and the config.yaml of {source} has none",
            "add `name:` to either",
        )
    return fields


def report_contradiction(
    draft: Draft, key: str, config: ConfigWithPositions, source: PackageSource | None
) -> None:
    """Report a field of the manifest that its package's config.yaml contradicts."""
    manifest_value, config_value = draft.spec.get(key), config[0].get(key)
    if manifest_value is None or config_value is None or manifest_value == str(config_value):
        return
    hint = "make both the same, or remove it here"
    shown_value = format_unless_secret(config_value)
    if not isinstance(config_value, str):
        shown_value = f"{describe_value_kind(config_value)} ({shown_value})"
        hint = f"quote it there; {hint}"
        draft.context.mark_flaw_reported(source, f"package:{key}")
    config_position = config[1].get((key,))
    draft.report(
        ("spec", key),
        "Manifest and package disagree",
        f"`{format_field_path(('spec', key))}` is {manifest_value}, but `{key}` is {shown_value} "
        "in the package's config.yaml" + (f" ({config_position})" if config_position else ""),
        hint,
    )


RELEASE = "release"
_RELEASE_KEYS = frozenset(("source", "file", "verify"))


def release_source(draft: Draft) -> PackageSource | None:
    """Where the release's package comes from; None when absent or malformed."""
    return draft.package_source("file" if "file" in draft.spec else "source")


def find_version(draft: Draft) -> str | None:
    """The declared version, else the package's; None where it has no valid form."""
    declared = draft.spec.get("version")
    if declared is None:
        declared = draft.context.read_config(release_source(draft), draft)[0].get("version")
        if contains_secret(
            str(declared)
        ):  # it would be part of an address, which is shown everywhere
            return None
    return declared if isinstance(declared, str) and is_valid_version(declared) else None


def release_address(draft: Draft) -> Address | None:
    """`release/PLUGIN@VERSION` or `release/id=123@VERSION`; None where a part is not known."""
    plugin = draft.spec.get("plugin")
    remote_plugin_id = declared_remote_id(plugin)
    # A plugin that is referred to by its id needs no manifest, so it has no name here.
    owner = f"id={remote_plugin_id}" if remote_plugin_id else plugin
    release_version = find_version(draft)
    if not isinstance(owner, str) or not owner or release_version is None:
        return None
    return Address(RELEASE, f"{owner}@{release_version}")


def decode_release(draft: Draft) -> DecodedSpec:
    """The release's fields; `plugin` is a Reference, or the remote id as text."""
    fields = {key: value for key, value in draft.spec.items() if key not in _RELEASE_KEYS}
    fields["plugin"] = parse_reference(PLUGIN, draft.spec["plugin"])
    source = release_source(draft)
    config = draft.context.read_config(source, draft)
    _report_outside_sources(draft)
    if "version" in fields:
        report_contradiction(draft, "version", config, source)
    elif config_version := find_version(draft):
        fields["version"] = config_version
    return fields


def decode_verification(draft: Draft) -> Mapping[str, Any] | None:
    """The `verify:` block in the form in which the run is started; None without one.

    A plugin that lists actions is run in the platform's form, which names one of them. Mixing both
    forms, and an action that is not listed, are reported.
    """
    verify = draft.spec.get("verify")
    if verify is None:
        return None
    block: Mapping[str, Any] = replace_secrets(draft, {"verify": verify})["verify"]
    page_keys, platform_keys = (
        [key for key in form if key in verify] for form in (PAGE_FORM, PLATFORM_FORM)
    )
    # Which form would win depends on the server, so it must be decided in the manifest.
    if page_keys and platform_keys:
        draft.report(
            ("spec", "verify", platform_keys[0]),
            "Two forms of a run",
            f"`{platform_keys[0]}` is one of the platform's fields, `{page_keys[0]}` one of the "
            f"API page's",
            f"use either {', '.join(PAGE_FORM)} or {', '.join(PLATFORM_FORM)}",
        )
        return block
    config = draft.context.read_config(release_source(draft), draft)[0]
    actions = list_action_names(config) or list_action_names(draft.spec.get("config"))
    action = _select_action(draft, actions) if actions else None
    if action is None:
        return block
    if draft.context.target.is_embedded and not platform_keys:
        # The page's profile shows a run's context, by which a run with a lost answer is found.
        block = {"context": {}, **block}
    return to_platform_form(block, action)


def _select_action(draft: Draft, actions: tuple[str, ...]) -> str | None:
    """The action to run; None (reported) where it is not listed, or not named among several."""
    verify = draft.spec["verify"]
    declared = verify.get("action")
    if declared in actions:
        return str(declared)
    actions_text = format_unless_secret(describe_actions(actions))
    if declared:
        draft.report(
            ("spec", "verify", "action"),
            "No such action",
            f"`verify.action` names an action that the plugin does not list; it lists "
            f"{actions_text}",
            "name one of them",
        )
        return None
    if len(actions) == 1:
        return actions[0]
    first_action = format_unless_secret(describe_actions(actions[:1]))
    hint = f"add `action: {first_action}`, or another one"
    if any(name in verify for name in PAGE_FORM):
        hint += "; parameters stand under `params` then"
    draft.report(
        ("spec", "verify"),
        "Missing action",
        f"a run needs `verify.action` where a plugin lists several actions; it lists "
        f"{actions_text}",
        hint,
    )
    return None


def _report_outside_sources(draft: Draft) -> None:
    for key in ("source", "file"):
        if draft.spec.get(key) != PUBLISHED:
            draft.report_outside_path(key)


def report_missing_version(draft: Draft) -> None:
    """Report why no version is known; a declared one that is malformed the schema has reported."""
    if draft.spec.get("version") is not None or draft.is_unknown_at_or_above(("spec", "version")):
        return
    source = release_source(draft)
    if source is None or draft.context.was_unreadable(source):
        _report_outside_sources(draft)
        return
    config, positions = draft.context.read_config(source)
    config_version = config.get("version")
    if config_version is None:
        source_text = (
            f"the config.yaml of {source}" if source.kind != PUBLISHED else "a published package"
        )
        draft.report(
            ("spec",),
            "Missing version",
            f"`spec` has no `version`, and {source_text} gives none",
            "add `version:`",
        )
        return
    version_position = positions.get(("version",))
    if not isinstance(config_version, str):
        draft.context.mark_flaw_reported(source, "package:version")
    draft.report(
        ("spec",),
        "Malformed version",
        f"`version` is {describe_value_kind(config_version)} "
        f"({format_unless_secret(config_version)}) in "
        "the package's config.yaml" + (f" ({version_position})" if version_position else ""),
        "quote it, and use letters, digits, `.`, `_`, `+` and `-`, at most 64",
    )


STORAGE = "storage"


def decode_storage(draft: Draft) -> DecodedSpec:
    """The storage's fields with secrets replaced; an unknown provider is noted, for one warning."""
    provider = draft.spec["provider"]
    provider_description = draft.context.project.providers.get(provider)
    if provider_description is not None:
        _report_provider_keys(draft, provider_description)
        # A key that is not described would be treated as a secret, and reported a second time.
        configuration = draft.spec.get("configuration", {})
        known_configuration = {
            key: value for key, value in configuration.items() if key in provider_description.keys
        }
        return replace_secrets(draft, {**draft.spec, "configuration": known_configuration})
    if provider in schemas.known_providers():
        properties = schemas.read_schema(f"providers/{provider}").get("properties", {})
        for key in draft.spec.get("configuration", {}):
            own_key = properties.get(key, {}).get("x-read-as")
            # Both of them are an error, which leaves the second one out.
            if own_key and ("spec", "configuration", own_key) not in draft.positions:
                draft.report(
                    ("spec", "configuration", key),
                    "Key that the platform's own tools do not read",
                    f"`{key}` is a documented key, and they read `{own_key}` alone",
                    "where they are to open this storage, write all of it in the platform's keys",
                    Severity.NOTE,
                )
    elif not draft.is_unknown_at_or_above(("spec", "provider")):
        draft.context.drafts_by_unknown_provider.setdefault(provider, []).append(draft)
    return replace_secrets(draft, draft.spec)


def warn_of_unknown_providers(context: DecodeContext) -> None:
    """Report the unknown providers of all storages that were decoded, each at one of them."""
    for provider, drafts in sorted(context.drafts_by_unknown_provider.items()):
        known = (*schemas.known_providers(), *context.project.providers)
        block = f"providers: {{{provider}: {{keys: ...}}}}"
        hint = f"describe its keys under `{block}` of the project file"
        if near := find_similar_word(provider, known):
            hint = f"did you mean `{near}`? If not, {hint}"
        count = f" ({len(drafts)} storages)" if len(drafts) > 1 else ""
        # The first by its address, so that the warning is the same for any order of files.
        min(drafts, key=lambda draft: str(draft.address)).warn(
            ("spec", "provider"),
            "Unknown provider",
            f"the keys of provider `{provider}` are not known{count}: none is checked, and every"
            " value is treated as a secret; write what is one as {valueFrom: {env: NAME}}",
            hint,
        )


def _report_provider_keys(draft: Draft, provider: Provider) -> None:
    """Report keys that the project file's description of the provider lacks or requires."""
    configuration = draft.spec.get("configuration", {})
    for key in configuration:
        if key not in provider.keys:
            draft.report(
                ("spec", "configuration", key),
                "Unknown field",
                f"provider `{draft.spec['provider']}` has no key `{key}`",
                draft.context.hints.suggest(key, provider.keys),
            )
    missing_keys = sorted(provider.required - configuration.keys())
    if len(missing_keys) > MAX_SUGGESTIONS:
        missing_keys = [format_short_list(missing_keys)]
    for key in missing_keys:
        draft.report(
            ("spec", "configuration"),
            "Missing field",
            f"provider `{draft.spec['provider']}` needs `{key}`",
            f"add {key}",
        )
