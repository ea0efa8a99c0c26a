"""What the tool does, a verb or subject in each module.

Operations do not import one another; what several share is named in tests/test_architecture.py.
"""
