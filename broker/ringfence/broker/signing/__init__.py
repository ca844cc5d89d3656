"""The cryptography of issuing: in this process, or in signer processes beside it."""
