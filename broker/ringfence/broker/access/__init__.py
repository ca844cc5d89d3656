"""Who may make which admin call, on what: roles, the one table of calls, and the guard in front of them."""
