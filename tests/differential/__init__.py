"""The same rules, callers and requests through every judge of ours: one verdict, or a difference that is listed."""
