"""Which texts and fields hold secrets; no secret value is read here."""
