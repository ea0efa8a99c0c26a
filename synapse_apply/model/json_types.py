"""What a piece of JSON is for: a server's object, a request's body or query, a document to print.

All are plain JSON in memory. The names say which one a function takes or gives back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

JsonValue = Any
"""Any value that JSON has: an object, a list, a text, a number, a truth value or null."""
JsonObject = dict[str, Any]
"""Any object, as `json` reads and writes it."""
JsonDocument = dict[str, Any]
"""What is printed for programs or stored: a whole document, or an object within one."""
ServerObject = dict[str, Any]
"""An object as a server answered it, with every key, whether known here or not."""
RequestBody = Mapping[str, Any]
"""What a call sends as JSON: secrets are revealed in it, so it is never shown."""
QueryParams = Mapping[str, Any]
"""What stands behind the `?` of a call; of a list, its filters."""
RemoteId = int | str
"""The id of an object on the server: a number in API v1, a UUID in API v2."""
ServerAnswer = Mapping[str, Any]
"""The object that a call was answered with, before it is known to be of any use."""
Spec = Mapping[str, Any]
"""The fields of an object by name, nested: as a manifest declares them, or as they are live."""
DecodedSpec = dict[str, Any]
"""A spec as it was decoded: secrets and references in it are values of model/values.py."""
SettingsBlock = Mapping[str, Any]
"""A block of the project file, which fits its schema."""
LogEntry = Any
"""An entry of a job's log as the server has it: an object on the API page, else a text."""
PageCheck = Callable[[Sequence[ServerObject]], bool]
"""A decision about a list by the items of one page: is it useful, was it the last page."""
