"""Which refusals requests about releases have, and their texts."""

from __future__ import annotations

from synapse_apply.emulator.core.errors import ApiError, build_conflict_error, build_error_of_field


def version_exists(plugin: str, version: str, field: str = "") -> ApiError:
    """The refusal of an existing version: a 409, or a 400 on `field` if it is given."""
    text = f"Version {version} of plugin {plugin} already exists."
    return build_error_of_field(field, text) if field else build_conflict_error(text)


def version_locked(version: str) -> ApiError:
    return build_conflict_error(f"Version {version} is released and cannot be deployed again.")


def unknown_plugin(value: object) -> ApiError:
    return build_error_of_field("plugin", f'Invalid pk "{value}" - object does not exist.')


def unknown_plugin_code(value: object) -> ApiError:
    return build_error_of_field("plugin", f"Object with code={value} does not exist.")


def plugin_id_required() -> ApiError:
    return build_error_of_field("plugin", "Incorrect type. Expected pk value.")


def plugin_choice(value: object) -> ApiError:
    text = f"Select a valid choice. {value} is not one of the available choices."
    return build_error_of_field("plugin", text)


def missing_config() -> ApiError:
    return build_error_of_field("file", "There is no config.yaml in the package.")


def version_mismatch(form_version: str, package_version: str) -> ApiError:
    text = f"The package has version {package_version}, and not {form_version}."
    return build_error_of_field("version", text)


def build_empty_file_error() -> ApiError:
    return build_error_of_field("file", "The submitted file is empty.")


def build_not_a_file_error() -> ApiError:
    return build_error_of_field(
        "file", "The submitted data was not a file. Check the encoding type on the form."
    )
