"""How a field of a stored value declares the form of its text, and its JSON key."""

from __future__ import annotations

import re

from synapse_apply.model.frozen import frozen

# The key in a dataclass field's metadata that has its TextForm.
FORM_METADATA_KEY = "form"
# The key in a field's metadata that has its JSON key, if that is not the field's name. By it a
# renamed field keeps the JSON key of users' files: `field(metadata={KEY: "the_old_name"})`.
KEY = "key"
# The key in a field's metadata that is True where its JSON key is left out while it has its default
# value. So a field that came later does not change what is written for all values without it.
OMITTED_BY_DEFAULT = "omitted by default"


@frozen
class TextForm:
    """The pattern that a text has to match completely, and its description for errors."""

    pattern: re.Pattern[str]
    description: str
