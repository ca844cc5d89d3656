"""Tests of servers above and below each other."""
