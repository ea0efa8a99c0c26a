"""Release documents: the plugin they belong to, their version and where their bytes are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from synapse_apply.kinds.run_forms import (
    PAGE_FORM,
    PLATFORM_FORM,
    describe_actions,
    list_actions,
    to_platform_form,
)
from synapse_apply.manifests.draft import PUBLISHED, Context, Draft
from synapse_apply.manifests.named import referred, remote_id
from synapse_apply.manifests.plugin import PREFIX as PLUGIN
from synapse_apply.manifests.plugin import agree
from synapse_apply.manifests.reader import kind_of
from synapse_apply.manifests.secretfields import secured
from synapse_apply.model.address import Address
from synapse_apply.model.credentials import hide_secret, is_secret
from synapse_apply.model.desired import PackageSource

PREFIX = "release"
_VERSION = re.compile(r"[A-Za-z0-9._+-]{1,64}")
_NOT_FIELDS = frozenset(("source", "file", "verify"))


def package(context: Context, draft: Draft) -> PackageSource | None:
    """Where the bytes come from; None when that is missing or wrong."""
    return context.source(draft, "file" if "file" in draft.spec else "source")


def version(context: Context, draft: Draft) -> str | None:
    """The declared version, else the one in the package's config.yaml."""
    declared = draft.spec.get("version")
    if declared is None:
        declared = context.config(package(context, draft), draft)[0].get("version")
        if is_secret(str(declared)):  # it would be part of an address, which is shown everywhere
            return None
    return declared if isinstance(declared, str) and _VERSION.fullmatch(declared) else None


def address(context: Context, draft: Draft) -> Address | None:
    """release/PLUGIN@VERSION or release/id=123@VERSION, where both are known."""
    plugin = draft.spec.get("plugin")
    remote = remote_id(plugin)
    owner = f"id={remote}" if remote else plugin
    found = version(context, draft)
    if not isinstance(owner, str) or not owner or found is None:
        return None
    return Address(PREFIX, f"{owner}@{found}")


def spec(context: Context, draft: Draft) -> dict[str, Any]:
    """The release's fields; `plugin` is a Reference, or the literal remote id as text."""
    fields = {key: value for key, value in draft.spec.items() if key not in _NOT_FIELDS}
    fields["plugin"] = referred(PLUGIN, draft.spec["plugin"])
    source = package(context, draft)
    config = context.config(source, draft)
    _check_paths(context, draft)
    if "version" in fields:
        agree(context, draft, "version", config, source)
    elif found := version(context, draft):
        fields["version"] = found
    return fields


def verification(context: Context, draft: Draft) -> Mapping[str, Any] | None:
    """The `verify:` block; None without one. It holds no secret, and one form of a run.

    A plugin that lists actions is run in the platform's form, which names one of them.
    """
    verify = draft.spec.get("verify")
    if verify is None:
        return None
    checked: Mapping[str, Any] = secured(context, draft, {"verify": verify})["verify"]
    ours, theirs = ([key for key in form if key in verify] for form in (PAGE_FORM, PLATFORM_FORM))
    if ours and theirs:
        context.find(
            draft,
            ("spec", "verify", theirs[0]),
            "Two forms of a run",
            f"`{theirs[0]}` is one of the platform's fields, `{ours[0]}` one of the API page's",
            f"use either {', '.join(PAGE_FORM)} or {', '.join(PLATFORM_FORM)}",
        )
        return checked
    actions = _listed_actions(context, draft)
    action = _action_of(context, draft, actions) if actions else None
    if action is None:
        return checked
    if context.target.is_embedded and not theirs:
        # The page's profile shows a run's context, by which a run with a lost answer is found.
        checked = {"context": {}, **checked}
    return to_platform_form(checked, action)


def _listed_actions(context: Context, draft: Draft) -> tuple[str, ...]:
    """The actions that the package lists, else those of the declared `config`."""
    config = context.config(package(context, draft), draft)[0]
    return list_actions(config) or list_actions(draft.spec.get("config"))


def _action_of(context: Context, draft: Draft, actions: tuple[str, ...]) -> str | None:
    """The action to run; None where none can be told, which is reported."""
    verify = draft.spec["verify"]
    declared = verify.get("action")
    if declared in actions:
        return str(declared)
    listed = hide_secret(describe_actions(actions))
    if declared:
        context.find(
            draft,
            ("spec", "verify", "action"),
            "No such action",
            f"`verify.action` names an action that the plugin does not list; it lists {listed}",
            "name one of them",
        )
        return None
    if len(actions) == 1:
        return actions[0]
    hint = f"add `action: {hide_secret(describe_actions(actions[:1]))}`, or another one"
    if any(name in verify for name in PAGE_FORM):
        hint += "; parameters stand under `params` then"
    context.find(
        draft,
        ("spec", "verify"),
        "Missing action",
        f"a run needs `verify.action` where a plugin lists several actions; it lists {listed}",
        hint,
    )
    return None


def _check_paths(context: Context, draft: Draft) -> None:
    for key in ("source", "file"):
        value = draft.spec.get(key)
        if value != PUBLISHED:
            path = value.get("path") if isinstance(value, dict) else value
            context.check_inside(draft, ("spec", key), path)


def explain_no_address(context: Context, draft: Draft) -> None:
    """Report why a release has no version; every other reason was reported by the schema."""
    if draft.spec.get("version") is not None:
        return
    source = package(context, draft)
    if source is None or context.is_broken(source):
        _check_paths(context, draft)
        return
    config, positions = context.config(source)
    found = config.get("version")
    if found is None:
        where = (
            f"the config.yaml of {source}" if source.kind != PUBLISHED else "a published package"
        )
        context.find(
            draft,
            ("spec",),
            "Missing version",
            f"`spec` has no `version`, and {where} gives none",
            "add `version:`",
        )
        return
    there = positions.get(("version",))
    if not isinstance(found, str):
        context.report_flaw(source, "package:version")
    context.find(
        draft,
        ("spec",),
        "Malformed version",
        f"`version` is {kind_of(found)} ({hide_secret(found)}) in the package's config.yaml"
        + (f" ({there})" if there else ""),
        "quote it, and use letters, digits, `.`, `_`, `+` and `-`, at most 64",
    )
