"""Where private keys of an authority live: one port, one module for each implementation."""
