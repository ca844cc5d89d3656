"""The model as Envoy and gRPC want it: schema and codec, resources, snapshots, streams."""
