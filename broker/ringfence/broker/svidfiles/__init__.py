"""SVIDs as files, for software that knows no Workload API."""
