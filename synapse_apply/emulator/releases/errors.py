"""Refusals of plugin releases."""

from __future__ import annotations

from synapse_apply.emulator.core.errors import ApiError, conflict, field_error


def version_exists(plugin: str, version: str, field: str = "") -> ApiError:
    """A 409; with a field, a 400 on it."""
    text = f"Version {version} of plugin {plugin} already exists."
    return field_error(field, text) if field else conflict(text)


def is_locked(version: str) -> ApiError:
    return conflict(f"Version {version} is released and cannot be deployed again.")


def no_such_plugin(value: object) -> ApiError:
    return field_error("plugin", f'Invalid pk "{value}" - object does not exist.')


def no_such_code(value: object) -> ApiError:
    return field_error("plugin", f"Object with code={value} does not exist.")


def no_id() -> ApiError:
    return field_error("plugin", "Incorrect type. Expected pk value.")


def no_choice(value: object) -> ApiError:
    text = f"Select a valid choice. {value} is not one of the available choices."
    return field_error("plugin", text)


def no_config() -> ApiError:
    return field_error("file", "There is no config.yaml in the package.")


def other_version(said: str, packed: str) -> ApiError:
    text = f"The package has version {packed}, and not {said}."
    return field_error("version", text)


def empty_file() -> ApiError:
    return field_error("file", "The submitted file is empty.")


def not_a_file() -> ApiError:
    return field_error(
        "file", "The submitted data was not a file. Check the encoding type on the form."
    )
