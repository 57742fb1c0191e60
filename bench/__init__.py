"""Measurements of the chain watcher on this machine. Not part of the program; may import it, never the other way."""
