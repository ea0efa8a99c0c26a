"""What is said beside a field of a stored value: the form of its text, and its JSON key."""

from __future__ import annotations

import re

from synapse_apply.model.frozen import frozen

# The name under which a field's metadata have its form.
FORM_METADATA_KEY = "form"
# The name under which they have its key, where that is not the field's name: a field that is
# renamed keeps the key it has in users' files, `field(metadata={KEY: "the_old_name"})`.
KEY = "key"


@frozen
class TextForm:
    """What the whole of a text has to match, and the words for it."""

    pattern: re.Pattern[str]
    description: str
