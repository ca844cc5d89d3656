"""The fabrics of a node, kept by its agent: what the server said, who takes part, and what the kernel holds of it."""
