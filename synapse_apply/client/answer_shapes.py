"""What the objects of the API must have: a server's answer is checked before anything uses it.

A field that is not named here is the kind's business. Null counts as left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from synapse_apply.model.coding.server_json import describe_field_names
from synapse_apply.model.frozen import frozen
from synapse_apply.model.remote.remote_ids import parse_remote_id
from synapse_apply.model.secrets.masked_text import MaskedText

_Names = tuple[str, ...]


@frozen
class AnswerShape:
    """Names of fields.

    `required_fields` have a value, `id_fields` hold ids, `owner_fields` an id or an object with
    one.

    `text_fields` hold texts, `bool_fields` true or false. `identity_fields` are the names, the
    first that is there, of the field that tells which object was answered.
    """

    required_fields: _Names = ()
    id_fields: _Names = ()
    owner_fields: _Names = ()
    text_fields: _Names = ()
    bool_fields: _Names = ()
    identity_fields: _Names = ("id",)

    def without_required_fields(self) -> AnswerShape:
        """The same of an answer that may leave fields out, as that of a dry run."""
        return replace(self, required_fields=())

    def describe_first_fault(self, value: Mapping[str, Any]) -> str:
        """What is wrong with an object; "" when nothing is."""
        for name in self.required_fields:
            if value.get(name) is None:
                return f"an object without {name} ({describe_field_names(value)})"
        for name in (*self.id_fields, *self.owner_fields):
            field_value = value.get(name)
            if isinstance(field_value, Mapping) and name in self.owner_fields:
                field_value = field_value.get("id")
            if field_value is not None and (reason := _describe_id_fault(field_value)):
                return f"its {name} cannot be used: {reason}"
        for names, expected_type, type_text in (
            (self.text_fields, str, "a text"),
            (self.bool_fields, bool, "a truth"),
        ):
            for name in names:
                if not isinstance(value.get(name), expected_type | None):
                    return f"its {name} is not {type_text}"
        return ""

    def is_other_object(self, value: Mapping[str, Any], requested_id: int | str) -> bool:
        """Whether an object says that it is not the one that was asked for by this id.

        Some servers take a code in an id's place; then the object has to show that code.
        """
        object_id = next(
            (value[name] for name in self.identity_fields if value.get(name) is not None),
            requested_id,
        )
        requested_text = str(requested_id).casefold()
        if str(object_id).casefold() == requested_text:
            return False
        code = value.get("code")
        return (
            requested_text.isdecimal()
            or not isinstance(code, str)
            or code.casefold() != requested_text
        )


def _describe_id_fault(value: Any) -> str:
    if isinstance(value, MaskedText):
        return "it repeats a secret that was sent"
    try:
        parse_remote_id(value)
    except ValueError as problem:
        return str(problem)
    return ""


# An object, or what need not even be one.
OBJECT, ANYTHING = AnswerShape(), AnswerShape()
PLUGIN = AnswerShape(required_fields=("id",), id_fields=("id",), text_fields=("name", "code"))
RELEASE = AnswerShape(
    required_fields=("id",), id_fields=("id",), owner_fields=("plugin",), text_fields=("version",)
)
STORAGE = AnswerShape(required_fields=("id",), id_fields=("id",), text_fields=("name", "provider"))
PLUGIN_V2 = AnswerShape(
    required_fields=("id", "code"), id_fields=("id",), text_fields=("name", "code")
)
RELEASE_V2 = AnswerShape(
    required_fields=("id", "plugin_id", "version"),
    id_fields=("id", "plugin_id"),
    text_fields=("version",),
    bool_fields=("is_released",),
)
JOB = AnswerShape(id_fields=("id", "job_id"), identity_fields=("id", "job_id"))
