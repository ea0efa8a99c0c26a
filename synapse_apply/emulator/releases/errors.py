"""Which refusals requests about releases have, and their texts."""

from __future__ import annotations

from synapse_apply.emulator.core.errors import ApiError, build_conflict_error, build_error_of_field


def build_version_exists_error(plugin: str, version: str, field: str = "") -> ApiError:
    """The refusal of an existing version: a 409, or a 400 on `field` if it is given."""
    text = f"Version {version} of plugin {plugin} already exists."
    return build_error_of_field(field, text) if field else build_conflict_error(text)


def build_version_locked_error(version: str) -> ApiError:
    return build_conflict_error(f"Version {version} is released and cannot be deployed again.")


def build_unknown_plugin_error(value: object) -> ApiError:
    return build_error_of_field("plugin", f'Invalid pk "{value}" - object does not exist.')


def build_unknown_plugin_code_error(value: object) -> ApiError:
    return build_error_of_field("plugin", f"Object with code={value} does not exist.")


def build_plugin_id_required_error() -> ApiError:
    return build_error_of_field("plugin", "Incorrect type. Expected pk value.")


def build_plugin_choice_error(value: object) -> ApiError:
    text = f"Select a valid choice. {value} is not one of the available choices."
    return build_error_of_field("plugin", text)


def build_missing_config_error() -> ApiError:
    return build_error_of_field("file", "There is no config.yaml in the package.")


def build_version_mismatch_error(form_version: str, package_version: str) -> ApiError:
    text = f"The package has version {package_version}, and not {form_version}."
    return build_error_of_field("version", text)


def build_empty_file_error() -> ApiError:
    return build_error_of_field("file", "The submitted file is empty.")


def build_not_a_file_error() -> ApiError:
    return build_error_of_field(
        "file", "The submitted data was not a file. Check the encoding type on the form."
    )
