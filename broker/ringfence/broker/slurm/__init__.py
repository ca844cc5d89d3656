"""Slurm: entries for the jobs that a cluster has, as long as it has them."""
