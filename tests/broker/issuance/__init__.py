"""Tests of the steps of issuing."""
