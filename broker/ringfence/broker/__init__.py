"""The running processes: server, agent, run, demo, evidence and the command line."""
