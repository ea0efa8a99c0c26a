"""Plugin documents: fields, and what `from` takes out of the package's config.yaml."""

from __future__ import annotations

from typing import Any

from synapse_apply.manifests.draft import Config, Context, Draft
from synapse_apply.manifests.reader import kind_of
from synapse_apply.manifests.wording import dotted
from synapse_apply.model.credentials import hide_secret
from synapse_apply.model.desired import PackageSource

PREFIX = "plugin"
_FROM_CONFIG = ("name", "code", "description", "category")
_NOT_FIELDS = frozenset(("from", "retain"))


def spec(context: Context, draft: Draft) -> dict[str, Any]:
    """The plugin's fields; what `from` gives is filled in, what contradicts it reported."""
    fields = {key: value for key, value in draft.spec.items() if key not in _NOT_FIELDS}
    if "from" not in draft.spec:
        return fields
    source = context.source(draft, "from")
    if source is None:
        value = draft.spec["from"]
        path = value.get("path") if isinstance(value, dict) else value
        context.check_inside(draft, ("spec", "from"), path)
        return fields
    config = context.config(source, draft)
    for key in _FROM_CONFIG:
        taken = config[0].get(key)
        if taken is None or not isinstance(taken, str):
            continue
        if key in fields:
            agree(context, draft, key, config, source)
        else:
            fields[key] = taken
    if context.has_no_config(source):
        context.report_flaw(source, "package:no-config")
        context.find(
            draft,
            ("spec", "from"),
            "Package without config.yaml",
            f"`from` takes the plugin's fields out of a config.yaml, and {source} has none",
            "name the plugin's own folder, see that no ignore rule leaves the file out, or take "
            "`from` out and write the fields here",
        )
    elif "name" not in fields and context.package_config and not context.is_broken(source):
        context.find(
            draft,
            ("spec", "from"),
            "Missing field",
            f"`spec` has no `name`, and the config.yaml of {source} has none",
            "add `name:` to either",
        )
    return fields


def agree(
    context: Context, draft: Draft, key: str, config: Config, source: PackageSource | None
) -> None:
    """Report a field of the manifest that its package's config.yaml contradicts."""
    ours, theirs = draft.spec.get(key), config[0].get(key)
    if ours is None or theirs is None or ours == str(theirs):
        return
    hint = "make both the same, or remove it here"
    shown = hide_secret(theirs)
    if not isinstance(theirs, str):
        shown = f"{kind_of(theirs)} ({shown})"
        hint = f"quote it there; {hint}"
        context.report_flaw(source, f"package:{key}")
    there = config[1].get((key,))
    context.find(
        draft,
        ("spec", key),
        "Manifest and package disagree",
        f"`{dotted(('spec', key))}` is {ours}, but `{key}` is {shown} in the package's"
        f" config.yaml" + (f" ({there})" if there else ""),
        hint,
    )
