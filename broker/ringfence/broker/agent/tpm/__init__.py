"""The TPM of this node: what an agent asks of it to prove that a key lives in it, by its own commands."""
