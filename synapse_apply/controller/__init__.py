"""The controller: follows Git, plans each target, shows one page and tells people when needed."""
