"""Hidden commands of before whose arguments are not those of what takes their place."""
