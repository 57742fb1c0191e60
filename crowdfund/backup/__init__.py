"""Backups of a whole installation, and coming back from one. May open no seed and sign nothing."""
