"""Operation: what who runs the service sees of it."""
