"""What a kind of resource is, as data: its fields, rules and the calls each API version offers."""
