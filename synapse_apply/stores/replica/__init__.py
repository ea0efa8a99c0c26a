"""A database in memory that is kept equal with a shared log of batches."""
