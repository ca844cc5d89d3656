"""The command line: one file a noun, one function a verb, no logic."""
