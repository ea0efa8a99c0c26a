"""The form that a text of a stored value has to have, told beside the field that holds it."""

from __future__ import annotations

import re

from synapse_apply.model.frozen import frozen

# The name under which a field's metadata have its form.
FORM = "form"


@frozen
class TextForm:
    """What the whole of a text has to match, and the words for it."""

    pattern: re.Pattern[str]
    words: str
