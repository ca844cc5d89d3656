"""Did every byte of a collective cross its fabric, and nothing else? Judged by counters from before and after; pure."""
