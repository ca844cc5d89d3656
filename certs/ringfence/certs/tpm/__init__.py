"""What a TPM says of its keys, read and judged: pure, and of TPM 2.0 no more than an attestation needs."""
