"""What the objects of the API must have: a server's answer is checked before anything uses it.

A field that is not named here is the kind's business. Null counts as left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from synapse_apply.model.frozen import frozen
from synapse_apply.model.masked import MaskedText
from synapse_apply.model.remote_ids import remote_id_of
from synapse_apply.model.server_json import fields_of

_Names = tuple[str, ...]


@frozen
class Shape:
    """Names of fields: `needed` have a value, `ids` hold ids, `owners` an id or an object with one.

    `texts` hold texts, `flags` true or false. `identity` are the names, the first that is there, of
    the field that tells which object was answered.
    """

    needed: _Names = ()
    ids: _Names = ()
    owners: _Names = ()
    texts: _Names = ()
    flags: _Names = ()
    identity: _Names = ("id",)

    def lenient(self) -> Shape:
        """The same of an answer that may leave fields out, as that of a dry run."""
        return replace(self, needed=())

    def fault_of(self, value: Mapping[str, Any]) -> str:
        """What is wrong with an object; "" when nothing is."""
        for name in self.needed:
            if value.get(name) is None:
                return f"an object without {name} ({fields_of(value)})"
        for name in (*self.ids, *self.owners):
            found = value.get(name)
            if isinstance(found, Mapping) and name in self.owners:
                found = found.get("id")
            if found is not None and (why := _no_id(found)):
                return f"its {name} cannot be used: {why}"
        for names, kind, what in ((self.texts, str, "a text"), (self.flags, bool, "a truth")):
            for name in names:
                if not isinstance(value.get(name), kind | None):
                    return f"its {name} is not {what}"
        return ""

    def is_another(self, value: Mapping[str, Any], asked: int | str) -> bool:
        """Whether an object says that it is not the one that was asked for by this id.

        Some servers take a code in an id's place; then the object has to show that code.
        """
        found = next((value[name] for name in self.identity if value.get(name) is not None), asked)
        text = str(asked).casefold()
        if str(found).casefold() == text:
            return False
        code = value.get("code")
        return text.isdecimal() or not isinstance(code, str) or code.casefold() != text


def _no_id(value: Any) -> str:
    if isinstance(value, MaskedText):
        return "it repeats a secret that was sent"
    try:
        remote_id_of(value)
    except ValueError as problem:
        return str(problem)
    return ""


# An object, or what need not even be one.
OBJECT, ANYTHING = Shape(), Shape()
PLUGIN = Shape(needed=("id",), ids=("id",), texts=("name", "code"))
RELEASE = Shape(needed=("id",), ids=("id",), owners=("plugin",), texts=("version",))
STORAGE = Shape(needed=("id",), ids=("id",), texts=("name", "provider"))
PLUGIN_V2 = Shape(needed=("id", "code"), ids=("id",), texts=("name", "code"))
RELEASE_V2 = Shape(
    needed=("id", "plugin_id", "version"),
    ids=("id", "plugin_id"),
    texts=("version",),
    flags=("is_released",),
)
JOB = Shape(ids=("id", "job_id"), identity=("id", "job_id"))
