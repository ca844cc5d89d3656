"""Who may make which admin call."""
