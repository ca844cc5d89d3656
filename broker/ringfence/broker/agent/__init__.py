"""The agent of a node: attests its workloads, holds their keys, and serves the Workload API, SDS and the launcher."""
