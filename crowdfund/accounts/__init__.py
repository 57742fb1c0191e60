"""Creators' accounts: ways in, second factors, sessions, limits, and what a person is told of them. No Flask here."""
