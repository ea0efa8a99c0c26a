"""Plan and apply for a Synapse backend kept as YAML in Git.

The library is the product; the command line is a thin face over `synapse_apply.session`.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
