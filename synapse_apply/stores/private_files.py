"""Files and folders that only their owner may read, from the first byte on."""

from __future__ import annotations

from synapse_apply.files.opening import (
    FILE_MODE,
    FOLDER,
    FOLDER_MODE,
    flush_folder,
    make_file,
    make_folder,
)

__all__ = ("FILE_MODE", "FOLDER", "FOLDER_MODE", "flush_folder", "make_file", "make_folder")
