"""What outlives the process: SQLAlchemy Core on SQLite, one module a group of tables."""
