"""What the tool does, one verb a module.

Operations do not import one another; what several share is named in tests/test_architecture.py.
"""
