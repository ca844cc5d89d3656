"""What outlives the process: SQLAlchemy Core on SQLite or PostgreSQL, one module a group of tables."""
