"""Programs that are ranks of a job in tests and figures; each stands alone, for whatever Python has PyTorch."""
