"""What projects say of themselves in files that others can read: funding.json, OKH, publiccode.yml, codemeta.json,
FUNDING.yml. Pure: bytes in, a value out; nothing is fetched here.

What is read comes from strangers. It fills a form that its owner then checks, and no more; each value says where it
comes from. `publishing` goes the other way: what a site with campaigns can say of itself.
"""

from __future__ import annotations

from crowdfund.projects.manifests.dispatch import read_manifest
from crowdfund.projects.manifests.prefill import Choice, Found, Output, Prefill, Refused

__all__ = ["Choice", "Found", "Output", "Prefill", "Refused", "read_manifest"]
