"""Key managers beyond what their contract says."""
