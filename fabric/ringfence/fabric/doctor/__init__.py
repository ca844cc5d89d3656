"""The doctor: what logs, counters and tables say about the way that collectives take, and what forces them off it."""
