"""Fetch what the tests need that is no Python package, once and with progress, before they run in parallel."""

from __future__ import annotations

import sys

from crowdfund.errors import WorldError
from support.browser import chromium_path
from support.electrumx import electrumx_python
from support.node import shared_binary
from support.postgres import program

if __name__ == "__main__":
    try:
        shared_binary()
        chromium_path(print)
        electrumx_python()
        program()
    except WorldError as error:
        sys.exit(error.sentence)
