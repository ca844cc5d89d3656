"""The whole story on one machine: server, agent, real Envoys and workloads, without root and without a cluster."""
