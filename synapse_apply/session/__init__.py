"""The composition root: wires a target's parts and runs one use case."""
