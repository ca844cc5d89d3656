"""The control plane's daemon and what it serves."""
