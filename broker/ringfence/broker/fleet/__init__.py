"""The connected proxies: what each is to hold, who serves what where, and how a change reaches those it touches."""
