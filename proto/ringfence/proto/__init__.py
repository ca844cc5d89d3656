"""The wire: what is generated from our .proto files, private descriptor pools, and the lane that serves gRPC."""
