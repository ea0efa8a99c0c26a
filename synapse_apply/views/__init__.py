"""Plans, reports and diagnostics as text and JSON for people and programs."""
