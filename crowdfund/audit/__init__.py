"""The audit: a bundle that says everything about a campaign, and checks that recompute it from the chain.

`bundle` writes, on the site's side, from the database. Everything else reads: it knows the bundle, a node and the
pure rules of a campaign, and may not import anything that knows the database.
"""
