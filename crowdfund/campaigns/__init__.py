"""Crowdfunding itself: terms, pledges, lifecycle, plans, ledger (pure); models, service, queries (database)."""
