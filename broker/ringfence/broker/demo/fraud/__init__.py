"""A bank's card payments, scored in two zones: what happens when a zone, a key or the control plane is lost."""
