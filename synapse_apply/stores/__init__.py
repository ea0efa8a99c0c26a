"""The stores of a state (SQLite, PostgreSQL) by one class, `SqlStore`."""
