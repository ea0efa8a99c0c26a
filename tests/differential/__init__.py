"""The command of another commit beside this tree's, on the same random worlds."""
