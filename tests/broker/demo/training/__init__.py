"""The training scenario's parts, without its machines."""
