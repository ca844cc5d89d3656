"""Where this server's private keys live, as it was told; what needs a library of its own is loaded on use."""
