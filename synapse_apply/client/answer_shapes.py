"""Which fields an answered object must have, and of which type, before anything uses it.

Fields not named here are checked by the kind, if at all. A null value counts as a missing one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.model.coding.server_json import describe_field_names
from synapse_apply.model.frozen import frozen
from synapse_apply.model.remote import parse_remote_id
from synapse_apply.model.secrets.secret_marks import MaskedText

_Names = tuple[str, ...]


# All answers pass here before anything uses them: ids that are none, or an object without what its
# kind needs, are an error with the request id. After a 2xx to a mutation the effect is then
# unknown.
@frozen
class AnswerShape:
    """What one kind of object must look like; every attribute is a tuple of field names.

    `required_fields` have a value that is not null, `id_fields` an id (`parse_remote_id`),
    `owner_fields` an id or an object with an `id`, `text_fields` a string, `bool_fields` a
    boolean. The first of `identity_fields` that is present names the object that was answered.
    """

    required_fields: _Names = ()
    id_fields: _Names = ()
    owner_fields: _Names = ()
    text_fields: _Names = ()
    bool_fields: _Names = ()
    identity_fields: _Names = ("id",)

    def find_fault(self, value: Mapping[str, Any]) -> str:
        """What is wrong with an object, as a phrase for an error message; "" if nothing is."""
        for name in self.required_fields:
            if value.get(name) is None:
                return f"an object without {name} ({describe_field_names(value)})"
        for name in (*self.id_fields, *self.owner_fields):
            field_value = value.get(name)
            if isinstance(field_value, Mapping) and name in self.owner_fields:
                field_value = field_value.get("id")
            if field_value is not None and (reason := _find_id_fault(field_value)):
                return f"an object whose {name} cannot be used: {reason}"
        for names, expected_type, type_text in (
            (self.text_fields, str, "a text"),
            (self.bool_fields, bool, "a truth"),
        ):
            for name in names:
                field_value = value.get(name)
                if field_value is not None and not isinstance(field_value, expected_type):
                    return f"an object whose {name} is not {type_text}"
        return ""

    def is_another(self, value: Mapping[str, Any], requested_id: int | str) -> bool:
        """Whether an answered object is another one than the one requested by this id or code."""
        object_id = next(
            (value[name] for name in self.identity_fields if value.get(name) is not None),
            requested_id,
        )
        requested_text = str(requested_id).casefold()
        if str(object_id).casefold() == requested_text:
            return False
        # Some servers accept a code in the path in place of an id and answer with the numeric id:
        # then the object is the requested one if it has that code.
        code = value.get("code")
        return (
            requested_text.isdecimal()
            or not isinstance(code, str)
            or code.casefold() != requested_text
        )


def _find_id_fault(value: Any) -> str:
    # A masked id is no longer the server's id: a URL built of it would reach another object.
    if isinstance(value, MaskedText):
        return "it repeats a secret that was sent"
    try:
        parse_remote_id(value)
    except ValueError as problem:
        return str(problem)
    return ""


# Compared by identity (`is`): OBJECT is any JSON object, ANYTHING need not be an object at all.
OBJECT, ANYTHING = AnswerShape(), AnswerShape()
# A started run is answered with `job_id`, a job that is read with `id` (API page, "Jobs").
JOB = AnswerShape(id_fields=("id", "job_id"), identity_fields=("id", "job_id"))
