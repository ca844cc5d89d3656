"""Tests of key managers and of how a server chooses one."""
