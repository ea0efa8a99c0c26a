"""What is live on one backend.

Objects that are declared, recorded or unknown are read and compared; nothing here writes.
"""
