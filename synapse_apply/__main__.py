"""`python -I -m synapse_apply`: the command where a checkout, or PYTHONPATH, must not add code."""

from __future__ import annotations

from synapse_apply.cli.start import main

if __name__ == "__main__":
    main()
