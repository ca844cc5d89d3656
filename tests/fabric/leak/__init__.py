"""The leak test's judgement, without a node."""
