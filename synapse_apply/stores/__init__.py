"""The stores of a state (SQLite, PostgreSQL) behind the protocol `StateStore` of model/ports.py."""
