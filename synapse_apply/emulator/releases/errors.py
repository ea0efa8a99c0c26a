"""Refusals of plugin releases."""

from __future__ import annotations

from synapse_apply.emulator.core.errors import ApiError, conflict, field_error


def version_exists(plugin: str, version: str) -> ApiError:
    return conflict(f"Version {version} of plugin {plugin} already exists.")


def no_such_plugin(value: object) -> ApiError:
    return field_error("plugin", f'Invalid pk "{value}" - object does not exist.')


def empty_file() -> ApiError:
    return field_error("file", "The submitted file is empty.")


def not_a_file() -> ApiError:
    return field_error(
        "file", "The submitted data was not a file. Check the encoding type on the form."
    )
