"""Programs that the demo runs as workloads; each stands alone and knows only its environment."""
