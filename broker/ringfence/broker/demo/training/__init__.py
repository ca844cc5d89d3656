"""A training job on two nodes: its ranks meet through mutual TLS, compute on a fabric of their own, and lose one."""
