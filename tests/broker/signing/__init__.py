"""Tests of signing, here and in processes of its own."""
