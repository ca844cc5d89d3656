"""Tests mirror the rooms; contract/, conformance/ and e2e/ stand beside them."""
