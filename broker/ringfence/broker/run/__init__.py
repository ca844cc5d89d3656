"""`ringfence run`: a workload with its proxy, its sockets and its environment, as one process tree."""
