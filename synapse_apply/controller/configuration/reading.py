"""Whether a controller.yaml can be used: all findings in one reading, and its values.

The shape is that of `schemas/v1/controller.schema.json`; what no schema can check is in `checks`.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from pathlib import Path as FilePath
from typing import Any, NamedTuple

from synapse_apply.controller.configuration.checks import further_findings
from synapse_apply.controller.configuration.decoding import decode_controller
from synapse_apply.controller.configuration.secrets import replace_literal_secrets
from synapse_apply.controller.settings import Controller
from synapse_apply.files.checkout import read_regular_file
from synapse_apply.manifests import schemas
from synapse_apply.manifests.schemas import ValueToCheck, build_schema_findings
from synapse_apply.manifests.yaml.reader import iter_extra_document_error, read_documents
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, Position, error_finding
from synapse_apply.model.errors import InputError

SCHEMA_NAME = "controller"
_MAX_FILE_BYTES = 4 * 1024 * 1024


class ConfigurationReading(NamedTuple):
    """What a controller.yaml says, None where it cannot be used, and all findings."""

    controller: Controller | None
    findings: tuple[Diagnostic, ...]


def read_configuration(file: FilePath) -> ConfigurationReading:
    """The configuration of a file; InputError if it cannot be read at all."""
    try:
        data = read_regular_file(file, _MAX_FILE_BYTES)
    except OSError as problem:
        raise InputError.from_summary(
            "The configuration cannot be read",
            f"{file}: {problem.strerror or problem}.",
            Text(
                "Specify the configuration file, or create one (docs/controller.md). To try the "
                "controller without a file: ",
                Command("controller run --demo"),
                ".",
            ),
        ) from None
    return parse_and_check_configuration(data, file)


def require_configuration(reading: ConfigurationReading) -> Controller:
    """The values of a reading; InputError with every finding where there are none."""
    if reading.controller is None:
        raise InputError(*reading.findings)
    return reading.controller


def parse_and_check_configuration(
    data: bytes | str, file: FilePath, now: float | None = None
) -> ConfigurationReading:
    """The configuration of a text; `file` names it in findings, and relative paths begin there.

    `now` is the wall-clock time at which it is to hold, None for that of the system.
    """
    now = time.time() if now is None else now
    reading = read_documents(data, str(file))
    findings = [*reading.diagnostics, *iter_extra_document_error(reading, str(file))]
    if not reading.documents:
        return ConfigurationReading(None, (*findings, *_empty_file(file, findings)))
    document = reading.documents[0]
    positions = document.positions
    # A secret that stands in the file must not reach a message of the schema.
    value, literals = replace_literal_secrets(copy.deepcopy(document.value), positions)
    findings.extend(literals)
    validator = schemas.compile_validator(SCHEMA_NAME)
    is_access_known = True
    if not validator.is_valid(value):
        value_to_check = ValueToCheck(value, positions, scalar_text=document.source.scalar_text)
        findings.extend(build_schema_findings(SCHEMA_NAME, value_to_check))
        # What no schema can say of the rest, so that nobody meets it in a second run.
        has_access = isinstance(value, Mapping) and "access" in value
        value = build_shown_document(value, validator.is_valid)
        is_access_known = has_access is ("access" in value)
    controller = decode_controller(value, positions, file)
    findings.extend(
        further_findings(value, controller, positions, now, is_access_known=is_access_known)
    )
    has_errors = any(finding.is_error for finding in findings)
    return ConfigurationReading(None if has_errors else controller, tuple(findings))


def _empty_file(file: FilePath, findings: list[Diagnostic]) -> tuple[Diagnostic, ...]:
    if findings:
        return ()
    return (
        error_finding(
            "The configuration is empty",
            f"{file} has no content",
            "start with `apiVersion: synapse-apply/v1` and `kind: Controller`",
            position=Position(str(file), 1, 1),
        ),
    )


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
