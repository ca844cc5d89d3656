"""What Kubernetes manifests and subnet managers' files let into a fabric, or out of the proxies."""
