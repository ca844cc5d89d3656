"""The pages made from the code say what the code says."""

from docs.generate import stale_pages


def test_the_generated_pages_are_what_the_code_makes() -> None:
    """A flag, a finding or a figure that changed without `make docs` is a page that lies."""
    assert stale_pages() == []
