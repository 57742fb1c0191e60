"""The verifier stands apart from the site: nothing that it imports knows the database or the web."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import crowdfund.audit.verify
print(*sys.modules)
"""


def test_the_verifier_imports_nothing_of_the_database() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(run.stdout.split())
    assert "crowdfund.audit.verify" in loaded
    site = {f"crowdfund.campaigns.{name}" for name in ("models", "queries", "recording", "settling", "service")}
    assert not loaded & {*site, "crowdfund.db", "crowdfund.audit.bundle", "crowdfund.web", "flask"}
