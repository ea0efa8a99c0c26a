"""Which settings of a document that does not fit the schema can still be checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_NO_SOURCE: Mapping[str, Any] = {"url": "./repository", "targets": {"*": {"mode": "observe"}}}
_HEAD: Mapping[str, Any] = {
    "apiVersion": "synapse-apply/v1",
    "kind": "Controller",
    "metadata": {"name": "controller"},
    "sources": {"source": _NO_SOURCE},
}


def build_shown_document(value: Any, is_valid: Callable[[Any], bool]) -> dict[str, Any]:
    """A document of the settings that fit the schema, each taken alone; paths stay the same.

    In the place of a required setting that does not fit is one on which there is nothing to say.
    `is_valid` is whether a whole document fits.
    """
    if not isinstance(value, Mapping):
        return {**_HEAD, "sources": {}}
    valid_settings = {key: item for key, item in value.items() if is_valid({**_HEAD, key: item})}
    rollouts = value.get("rollouts")
    if isinstance(rollouts, Mapping):
        valid_settings["rollouts"] = {
            name: rollout
            for name, rollout in rollouts.items()
            if is_valid({**_HEAD, "rollouts": {name: rollout}})
        }
    sources = value.get("sources")
    valid_settings["sources"] = {
        name: _valid_source(settings, is_valid)
        for name, settings in (sources.items() if isinstance(sources, Mapping) else ())
        if is_valid({**_HEAD, "sources": {name: _NO_SOURCE}}) and isinstance(settings, Mapping)
    }
    return {**_HEAD, **valid_settings}


def _valid_source(settings: Mapping[str, Any], is_valid: Callable[[Any], bool]) -> dict[str, Any]:
    valid_settings = {
        key: item
        for key, item in settings.items()
        if is_valid({**_HEAD, "sources": {"source": {**_NO_SOURCE, key: item}}})
    }
    rules = settings.get("targets")
    if "targets" not in valid_settings and isinstance(rules, Mapping):
        valid_settings["targets"] = {
            pattern: rule if _is_valid_rule(pattern, rule, is_valid) else {}
            for pattern, rule in rules.items()
            if _is_valid_rule(pattern, {}, is_valid)
        }
    if "credentials" in settings and "credentials" not in valid_settings:
        # Else the url would be said to have none.
        valid_settings.pop("url", None)
    return {**_NO_SOURCE, **valid_settings}


def _is_valid_rule(pattern: Any, rule: Any, is_valid: Callable[[Any], bool]) -> bool:
    source = {**_NO_SOURCE, "targets": {pattern: rule}}
    return is_valid({**_HEAD, "sources": {"source": source}})
