"""Kinds made up for these tests: the engine must not care which kind it plans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.kinds.descriptor import (
    ApiBinding,
    Catalogue,
    Compare,
    FieldRule,
    ResourceType,
    UpdateMode,
    VerificationSpec,
)
from synapse_apply.model.resource import Lookup, Observed


def _key(spec: Mapping[str, Any], _parents: Mapping[str, Observed]) -> str:
    return f"name={spec['name']}" if spec.get("name") else ""


def _no_call(*_args: Any) -> Any:
    raise AssertionError("planning makes no call")


def _binding(fields: tuple[str, ...], mode: UpdateMode, *, fixed: bool) -> ApiBinding:
    return ApiBinding(
        api="v1",
        fields=frozenset(fields),
        lookup={"name": Lookup.COMPLETE},
        read_object=_no_call,
        create_object=_no_call,
        decode=_no_call,
        encode=_no_call,
        update_object=None if fixed else _no_call,
        update_mode=mode,
        delete_object=None if fixed else _no_call,
    )


def _kind(prefix: str, rank: int, rules: tuple[FieldRule, ...], **more: Any) -> ResourceType:
    mode = more.pop("mode", UpdateMode.PATCH)
    names = tuple(rule.name for rule in rules if rule.name != "future")
    return ResourceType(
        kind=prefix.capitalize(),
        prefix=prefix,
        rank=rank,
        rules={rule.name: rule for rule in rules},
        derive_natural_key=_key,
        identity_fields=("serial",),
        bindings={"v1": _binding(names, mode, fixed=more.pop("fixed", False))},
        **more,
    )


_WIDGET = (
    FieldRule("name", required=True),
    FieldRule("serial", immutable=True, fixed_hint="a serial never changes"),
    FieldRule("note", reset_value=""),
    FieldRule("size"),
    FieldRule("tags", compare=Compare.SET, reset_value=[]),
    FieldRule("words"),
    FieldRule("parent"),
    FieldRule("hook", write_only=True),
    FieldRule("config", free_form=True, reset_value={}),
    FieldRule("future"),
)
KINDS: Catalogue = {
    "widget": _kind("widget", 1, _WIDGET),
    "gadget": _kind("gadget", 0, _WIDGET, mode=UpdateMode.PUT),
    "volume": _kind(
        "volume",
        2,
        (FieldRule("line"), FieldRule("version")),
        series_field="line",
        version_field="version",
    ),
    "edition": _kind(
        "edition",
        2,
        (FieldRule("line"), FieldRule("version"), FieldRule("text"), FieldRule("draft")),
        fixed=True,
        series_field="line",
        version_field="version",
        carries_package=True,
        verification_spec=VerificationSpec(
            owner_field="line",
            build_body=lambda _spec, verify: {"parameters": verify.get("parameters", {})},
            send_run=_no_call,
            list_jobs=_no_call,
        ),
        replaceable_if="draft",
    ),
}
