"""Ties to open projects: licences; later manifests and proof of ownership."""
