"""Attestation: what proves that a node or a process is what it says, one file an attestor."""
