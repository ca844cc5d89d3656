"""The SPIFFE Broker API: identity documents for a workload that trusted infrastructure names by a reference."""
