"""Several processes that share one store on PostgreSQL: who works on what, by Procrastinate."""
