"""Where collectives go: what keeps a job's collectives on its fabric, and what tells whether they are there."""
