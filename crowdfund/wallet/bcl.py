"""bitcoinlib, set up before it is imported. The only way into it: `from crowdfund.wallet.bcl import HDKey, …`.

Its own start would write settings and a list of public services into the home folder. Here it gets a folder in
our cache instead: no providers, no log, and a corrected regtest (its prefixes there are mainnet's).
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import tempfile
import warnings
from pathlib import Path

from crowdfund.config import cache_dir


def _folder() -> Path:
    """Make the folder once, whole or not at all, whichever process comes first."""
    folder = cache_dir() / "bitcoinlib-0.7.10"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix="bitcoinlib-", dir=folder.parent))
    (draft / "database").mkdir()
    (draft / "networks.json").write_text(json.dumps(_networks()))
    (draft / "providers.json").write_text("{}")
    (draft / "config.ini").write_text("[logs]\nenable_bitcoinlib_logging=False\n")
    (draft / "install.log").write_text("Present so that bitcoinlib does not overwrite this folder.\n")
    try:
        draft.rename(folder)
    except OSError:  # another process was first
        shutil.rmtree(draft)
    return folder


def _networks() -> dict[str, dict[str, object]]:
    spec = importlib.util.find_spec("bitcoinlib")
    if spec is None or spec.origin is None:
        raise ImportError("bitcoinlib is not installed")
    shipped = json.loads((Path(spec.origin).parent / "data" / "networks.json").read_text())
    kept: dict[str, dict[str, object]] = {n: shipped[n] for n in ("bitcoin", "testnet4", "signet", "regtest")}
    for name in ("prefix_address", "prefix_address_p2sh", "prefix_wif", "prefixes_wif", "bip44_cointype"):
        kept["regtest"][name] = kept["testnet4"][name]
    return kept


os.environ["BCL_DATA_DIR"] = str(_folder())

with warnings.catch_warnings():
    # Importing it also loads its wallet database, whose SQLAlchemy style is out of date; we never use that part.
    warnings.simplefilter("ignore")
    HDKey = importlib.import_module("bitcoinlib.keys").HDKey
    Mnemonic = importlib.import_module("bitcoinlib.mnemonic").Mnemonic
    Transaction = importlib.import_module("bitcoinlib.transactions").Transaction
