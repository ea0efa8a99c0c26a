"""The kinds of resources, as data: fields, rules, and the calls that each API version offers."""
