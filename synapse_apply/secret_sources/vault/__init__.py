"""How secrets are read from HashiCorp Vault or OpenBao: KV version 2, by token or by JWT."""
