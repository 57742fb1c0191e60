"""The demo: the whole installation on a private chain, filled with examples, or playing a story by itself.

Drives the software through its web API and the node's own wallet, as strangers would; touches no table.
"""

from crowdfund.demo.house import run_demo
from crowdfund.demo.story import run_story

__all__ = ["run_demo", "run_story"]
