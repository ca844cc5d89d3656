"""The hash-chained audit log: what was done, by whom, in a file that shows when it was tampered with."""
