"""Files that sops has encrypted: which keys they may name, and how they are decrypted."""
