"""All-or-nothing crowdfunding in bitcoin for open projects."""

__version__ = "0.1.0"
