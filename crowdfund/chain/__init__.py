"""Seeing the chain: the port, its backends, following with reorganisations. Knows scripts, not campaigns."""
