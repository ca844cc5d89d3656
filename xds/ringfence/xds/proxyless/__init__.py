"""The same policy for gRPC's own xDS clients, which hold no Envoy: its dialect of listeners, rules and clusters."""
