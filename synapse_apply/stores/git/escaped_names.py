"""How any text becomes a name that Git, its hosts and all file systems accept, one for each text.

Lower-case ASCII letters, digits, `_` and `-` stay as they are, and a `.` between two of them; all
else becomes `%XX` for each byte of its UTF-8. So two names never differ in case alone.
"""

from __future__ import annotations

import hashlib
import re

# Windows takes these for devices, whatever follows the first dot.
_RESERVED_PATTERN = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(?=\.|$)")
_PLAIN_PATTERN = re.compile(rb"[a-z0-9_-]+(?:\.(?!lock(?![a-z0-9_-]))[a-z0-9_-]+)*")
# File systems allow 255 bytes; room is left for a suffix such as `.json.part`.
_MAX_LENGTH = 200
_KEPT_LENGTH = 150


def escape_name(text: str) -> str:
    """The name of a text: 1 to 200 safe characters; a long one ends with `~` and its digest."""
    text_bytes = text.encode("utf-8", "surrogatepass")
    parts: list[str] = []
    position = 0
    while position < len(text_bytes):
        plain = _PLAIN_PATTERN.match(text_bytes, position)
        if plain is not None:
            parts.append(plain[0].decode("ascii"))
            position = plain.end()
        else:
            parts.append(f"%{text_bytes[position]:02X}")
            position += 1
    name = "".join(parts) or "%"
    if _RESERVED_PATTERN.match(name):
        name = f"%{ord(name[0]):02X}{name[1:]}"
    if len(name) > _MAX_LENGTH:
        name = f"{name[:_KEPT_LENGTH]}~{hashlib.sha256(text_bytes).hexdigest()[:32]}"
    return name
