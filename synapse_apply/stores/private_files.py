"""Files and folders that only their owner may read, from the first byte on."""

from __future__ import annotations

from synapse_apply.files.opening import (
    FILE_MODE,
    FOLDER_MODE,
    OWN_FOLDER,
    create_folders,
    create_own_file,
    sync_folder,
)

__all__ = (
    "FILE_MODE",
    "FOLDER_MODE",
    "OWN_FOLDER",
    "create_folders",
    "create_own_file",
    "sync_folder",
)
