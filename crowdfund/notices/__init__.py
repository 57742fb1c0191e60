"""Telling people what happened: by mail, to programs of creators, and in feeds. May not touch money or its records."""
