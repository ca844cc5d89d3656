"""The way back from a decision at a proxy to the line of intent that made it."""
