"""What `state init` says of the place of a state: who can read it, and who can write to it."""

from __future__ import annotations

from synapse_apply.stores.git.git_url import is_git_url

_GIT_READERS = (
    "Whoever can read that repository can read the state: addresses, ids and configuration, and no "
    "secret."
)
_GIT_WRITERS = (
    "No rule protects such a ref: whoever may push to the repository may write it. What is not "
    "signed with the state key is not believed, so keep that key from who may only push."
)


def list_place_notes(location: str) -> list[str]:
    """Sentences on the store at a location, as messages name it; [] where all is plain."""
    if not is_git_url(location):
        return []
    return [f"The state is at {location}.", _GIT_READERS, _GIT_WRITERS]
