"""Our own spans: what issuing, attestation, compiling and pushing cost, and when they happened."""
