"""What views of both colours do to a real PostgreSQL, and to SQLite where that differs."""
