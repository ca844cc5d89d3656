"""What the room of the fabric is told of this machine."""
