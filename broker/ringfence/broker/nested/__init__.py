"""Servers of one trust domain above and below each other: what is asked above, and what is signed for those below."""
