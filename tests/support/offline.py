"""A server without a seed, a machine without a wire, and the stick that goes to and fro between them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from crowdfund.campaigns.terms import CampaignTerms
from crowdfund.chain.regtest import RegtestNode
from crowdfund.cli import main
from crowdfund.wallet.keystore import make_folder, sealed_seed
from crowdfund.wallet.passphrase import Passphrase
from crowdfund.wallet.seed_file import Cost
from support.foreign import ForeignSigner, keys_of
from support.terminal import environment
from support.world import World

ENTROPY = hashlib.sha256(b"the seed of the offline machine").digest()
SECRET = "right horse battery"
CHEAP = Cost(memory_kib=8, passes=1, lanes=1)


class ColdWorld(World):
    """The server: a world in cold mode. `offline` is the data folder of the machine with the seed."""

    def __init__(self, node: RegtestNode, folder: Path) -> None:
        super().__init__(node, folder / "server", SIGNER="cold")
        self.offline, self.stick = folder / "offline", folder / "stick"
        self.stick.mkdir()
        seed = self.offline / "signer" / "seed"
        make_folder(seed)
        seed.write_bytes(sealed_seed(ENTROPY, Passphrase(SECRET), "regtest", CHEAP).to_bytes())
        (self.offline / "passphrase").write_text(SECRET)
        for file in (seed, self.offline / "passphrase"):
            file.chmod(0o600)

    def on_server(self, *arguments: str) -> tuple[int, str]:
        """(exit code, what was said) of `crowdfund cold ARGUMENTS` on the server."""
        done = CliRunner().invoke(main, ["cold", *arguments], env=self.settings.to_env())
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.output

    def on_machine(self, *arguments: str, typed: str = "") -> tuple[int, str]:
        """The same on the machine with the seed, in a process of its own: there the memory is shielded."""
        env = environment(self.offline, SIGNER_PASSPHRASE_FILE=str(self.offline / "passphrase"))
        command = [sys.executable, "-m", "crowdfund", "cold", *arguments]
        done = subprocess.run(command, env=env, input=typed, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def accounts(self, count: int = 3, first: int = 0) -> Path:
        """A file with accounts, made on the machine."""
        file = self.stick / f"accounts-{first}.json"
        code, said = self.on_machine("accounts", "--count", str(count), "--first", str(first), str(file))
        assert code == 0, said
        return file

    def take_in(self, file: Path) -> None:
        """Accounts get into the server."""
        code, said = self.on_server("import-accounts", str(file))
        assert code == 0, said
        self.sync()

    def export(self, *options: str) -> list[Path]:
        """What waits goes to the stick; its PSBTs."""
        code, said = self.on_server("export", str(self.stick), *options)
        assert code == 0, said
        return sorted(path for path in self.stick.glob("*.psbt") if "signed" not in path.name)

    def signed_files(self) -> list[str]:
        """The signed PSBTs on the stick."""
        return sorted(str(path) for path in self.stick.glob("*.signed.psbt"))

    def foreign(self, campaign_id: str) -> ForeignSigner:
        """A wallet of the node that has this campaign's keys."""
        campaign = self.snapshot(campaign_id).campaign
        terms = CampaignTerms.parse(campaign.terms or "")
        assert campaign.account_index is not None
        return ForeignSigner(self.node, keys_of(ENTROPY), campaign.account_index, terms.hash)

    def attempts(self) -> dict[str, bytes | None]:
        """txid -> signed bytes of every attempt."""
        with self.database.reading() as session:
            rows = session.connection().exec_driver_sql("SELECT txid, raw FROM attempts").all()
        return dict(rows)

    def trouble(self) -> str:
        """What the operator reads."""
        with self.database.reading() as session:
            return str(session.connection().exec_driver_sql("SELECT trouble FROM chain_view").scalar_one())

    def funded_and_failed(self, payout_address: str) -> tuple[str, str]:
        """Two campaigns past their deadline: one reached its goal, one did not and has two backers."""
        creator = self.creator()
        funded = self.campaign(creator, goal_sats=200_000, payout_address=payout_address)
        failed = self.campaign(creator, goal_sats=900_000, title="A loom that failed")
        for campaign, sats in ((funded, 250_000), (failed, 60_000), (failed, 70_000)):
            self.node.pay(str(self.pledge(campaign, sats).address), sats)
        self.node.mine()
        self.sync()
        self.close(failed)
        return funded, failed


def multisig(node: RegtestNode) -> str:
    """A 2-of-3 address (P2WSH) of the node's bank."""
    keys = [node.bank("getaddressinfo", node.bank("getnewaddress"))["pubkey"] for _ in range(3)]
    return str(node.rpc("createmultisig", 2, keys, "bech32")["address"])


def unspent_sats(node: RegtestNode, address: str) -> list[int]:
    """The amounts that lie at an address, by the node's own set of unspent outputs."""
    found = node.rpc("scantxoutset", "start", [f"addr({address})"])["unspents"]
    return [int(one["amount"] * 10**8) for one in found]
