"""Cold mode on a real node: campaigns are settled, and the server never had a seed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from embit.ec import PublicKey
from embit.psbt import PSBT
from embit.script import Script

from crowdfund.chain.regtest import RegtestNode
from crowdfund.config import Settings
from crowdfund.errors import UserError, WorldError
from crowdfund.processes import run_signer, run_worker
from crowdfund.wallet import bbqr
from support.camera import camera
from support.foreign import keys_of, private_account
from support.node import new_address
from support.offline import ENTROPY, ColdWorld, multisig, unspent_sats
from support.world import World

ANY_KEY = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"


@pytest.fixture(scope="module")
def accounts(node: RegtestNode, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the offline machine, which has the same seed in all of these tests, says of its accounts."""
    with ColdWorld(node, tmp_path_factory.mktemp("accounts")) as world:
        return world.accounts()


@pytest.fixture
def cold(node: RegtestNode, tmp_path: Path, accounts: Path) -> Iterator[ColdWorld]:
    """A server in cold mode and its offline machine, with accounts brought."""
    with ColdWorld(node, tmp_path) as world:
        world.take_in(accounts)
        yield world


def settled(cold: ColdWorld, funded: str, failed: str) -> None:
    """Mine what was sent: both are settled, and no seed ever was on the server."""
    cold.node.mine()
    cold.sync()
    assert (cold.summary(funded).state, cold.summary(failed).state) == ("released", "refunded")
    assert cold.trouble() == ""
    assert not (cold.settings.data_dir / "signer").exists()


def test_settled_by_the_offline_machine(cold: ColdWorld) -> None:
    """Shown in plain words, asked, signed by the same rules; a payout to a 2-of-3 multisig."""
    payout = multisig(cold.node)
    funded, failed = cold.funded_and_failed(payout)
    assert cold.trouble() == "2 settlements wait to be signed offline: crowdfund cold export."
    assert set(cold.attempts().values()) == {None}
    assert len(cold.export()) == 2
    code, said = cold.on_machine("sign", str(cold.stick), typed="n\ny\n")
    assert code == 0
    assert "Payout to the creator, campaign “A seed drill any village can build”" in said
    assert "spends 1 coin of 250,000 sat together" in said
    assert f"sat to {payout}, the payout address in the terms" in said
    assert "Refund to backers, campaign “A loom that failed”" in said
    assert "spends 2 coins of 130,000 sat together" in said
    assert "the refund address of pledge 1" in said
    assert "NOT" not in said
    assert len(cold.signed_files()) == 1
    code, said = cold.on_machine("sign", str(cold.stick), typed="y\ny\n")
    assert (code, len(cold.signed_files())) == (0, 2)
    for new in (True, False):
        code, said = cold.on_server("import", *cold.signed_files())
        assert code == 0
        assert said.count("is signed; the worker sends it") == (2 if new else 0)
        assert said.count("was brought before") == (0 if new else 2)
    assert None not in cold.attempts().values()
    cold.sync()
    assert set(cold.node.rpc("getrawmempool")) == set(cold.attempts())
    settled(cold, funded, failed)
    ((value),) = unspent_sats(cold.node, payout)
    (batch,) = cold.snapshot(funded).batches
    assert value == 250_000 - batch.attempts[-1].fee_sats
    code, said = cold.on_server("import", *cold.signed_files())
    assert (code, said.count("was brought before")) == (0, 2)


def test_settled_by_a_foreign_signer(cold: ColdWorld) -> None:
    """The node's wallet stands for a device: PSBTs go as QR codes; one comes back so and not finalised, one as text."""
    funded, failed = cold.funded_and_failed(new_address(cold.node, "bech32m"))
    cold.export("--qr")
    for campaign, finish in ((funded, True), (failed, False)):
        (batch,) = cold.snapshot(campaign).batches
        txid = batch.attempts[0].txid
        pictures = sorted(cold.stick.glob(f"{txid}.*-of-*.png"))
        seen = [camera(picture.read_bytes()) for picture in pictures]
        kind, psbt = bbqr.decode(seen)
        assert (kind, psbt) == ("P", (cold.stick / f"{txid}.psbt").read_bytes())
        signed = cold.foreign(campaign).sign(psbt, finish)
        brought = base64.encodebytes(signed) if finish else "\n".join(bbqr.encode(signed, "P", 100)).encode()
        (cold.stick / "brought").write_bytes(brought)
        code, said = cold.on_server("import", str(cold.stick / "brought"))
        assert (code, said) == (0, f"{txid} is signed; the worker sends it.\n")
    cold.sync()
    settled(cold, funded, failed)


def test_a_crash_between_import_and_sending(cold: ColdWorld) -> None:
    """What was stored is sent by the next worker, as it was brought; a second signature of the same changes nothing."""
    funded, failed = cold.funded_and_failed(new_address(cold.node))
    psbts = cold.export()
    signers = {f"{cold.snapshot(c).batches[0].attempts[0].txid}.psbt": cold.foreign(c) for c in (funded, failed)}
    for path in psbts:
        (cold.stick / "brought").write_bytes(signers[path.name].sign(path.read_bytes()))
        assert cold.on_server("import", str(cold.stick / "brought"))[0] == 0
    stored = cold.attempts()
    assert cold.node.rpc("getrawmempool") == []
    assert cold.on_machine("sign", str(cold.stick), typed="y\ny\n")[0] == 0
    assert cold.on_server("import", *cold.signed_files())[0] == 0
    assert cold.attempts() == stored and None not in stored.values()
    cold.worker = cold.new_worker()
    cold.sync()
    assert set(cold.node.rpc("getrawmempool")) == set(stored)
    settled(cold, funded, failed)


def test_what_else_is_brought_is_refused(cold: ColdWorld) -> None:
    """Each gets one sentence, and nothing is stored; then the right one is taken."""
    funded, _ = cold.funded_and_failed(new_address(cold.node))
    cold.export()
    (batch,) = cold.snapshot(funded).batches
    txid = batch.attempts[0].txid
    unsigned = (cold.stick / f"{txid}.psbt").read_bytes()
    foreign = cold.foreign(funded)
    good, partial = foreign.sign(unsigned), foreign.sign(unsigned, finish=False)
    for name, (data, reason) in wrong_ones(unsigned, good, partial).items():
        (cold.stick / name).write_bytes(data)
        code, said = cold.on_server("import", str(cold.stick / name))
        assert code == 1, name
        assert reason in said, (name, said)
        assert "1 of 1 files are refused" in said
        assert set(cold.attempts().values()) == {None}, name
    (cold.stick / "good").write_bytes(good)
    code, said = cold.on_server("import", str(cold.stick / "altered"), str(cold.stick / "good"))
    assert code == 1 and f"{txid} is signed" in said and "1 of 2 files are refused" in said
    assert cold.attempts()[txid] is not None


def wrong_ones(unsigned: bytes, good: bytes, partial: bytes) -> dict[str, tuple[bytes, str]]:
    """Name -> (what is brought, a part of the sentence that it gets)."""
    altered, cheaper, stranger, half = (PSBT.parse(data) for data in (good, partial, partial, good))
    altered.outputs[0].script_pubkey = Script(b"\x00\x14" + b"m" * 20)
    cheaper.outputs[0].value -= 1
    (signature,) = stranger.inputs[0].partial_sigs.values()
    stranger.inputs[0].partial_sigs = {PublicKey.parse(bytes.fromhex(ANY_KEY)): signature}
    witness = half.inputs[0].final_scriptwitness
    assert witness is not None
    witness.items = [signature[:-1] + b"\x02", witness.items[1]]
    return {
        "unsigned": (unsigned, "input 1 of 1 is not signed"),
        "altered": (altered.serialize(), "no settlement that was planned here"),
        "cheaper": (cheaper.serialize(), "no settlement that was planned here"),
        "stranger": (stranger.serialize(), "not valid"),
        "other-sighash": (half.serialize(), "not valid"),
        "cut-off": (good[:-40], "neither a signed PSBT"),
        "text": (b"good morning", "neither a PSBT"),
        "empty": (b"", "neither"),
        "frames": (b"B$HP0200AABB\n", "missing: 2"),
    }


def test_a_server_that_was_broken_into_gets_nothing_signed(cold: ColdWorld) -> None:
    """The first refund address counts; a payout goes where the terms say; changed terms have other keys."""
    funded, failed = cold.funded_and_failed(new_address(cold.node))
    cold.export()
    assert cold.on_machine("sign", str(cold.stick), typed="n\nn\n")[0] == 0
    manifest = cold.stick / "manifest.json"
    whole = json.loads(manifest.read_text())
    mallory = "0014" + "6d" * 20
    accounts = {c["account"]: c for c in whole["campaigns"]}
    release = accounts[cold.snapshot(funded).campaign.account_index]
    refund = accounts[cold.snapshot(failed).campaign.account_index]

    def refused(reason: str) -> str:
        manifest.write_text(json.dumps(whole))
        code, said = cold.on_machine("sign", str(cold.stick), typed="y\ny\n")
        assert code == 1 and reason in said, said
        return said

    release["transactions"][0]["outputs"][0][0] = mallory
    said = refused("The manifest was changed")
    release["transactions"][0]["txid"] = said.strip().removesuffix(".")[-64:]
    assert "an address that is NOT in the terms" in refused("a release has one output, to the payout address")
    release["terms"] = release["terms"].replace("200000", "100000")
    refund["refunds"]["0"] = mallory
    said = refused("another refund address is registered")
    assert "its addresses are not those of this seed and these terms" in said
    names = {Path(path).name.split(".")[0] for path in cold.signed_files()}
    assert names == {refund["transactions"][0]["txid"]}


def test_accounts_are_public_and_run_out(node: RegtestNode, tmp_path: Path) -> None:
    """Without accounts nothing is published, and the operator reads what to do; what is not a public key is refused."""
    with ColdWorld(node, tmp_path) as cold:
        assert "crowdfund cold accounts --first 0 FILE" in cold.trouble()
        with pytest.raises(UserError, match="No account is left"):
            cold.campaign()
        cold.take_in(cold.accounts(count=1))
        assert cold.trouble() == ""
        cold.campaign()
        cold.sync()
        assert "crowdfund cold accounts --first 1 FILE" in cold.trouble()
        file = cold.stick / "accounts-0.json"
        code, said = cold.on_server("import-accounts", str(file))
        assert (code, said) == (0, "1 accounts are taken in; 0 wait for a campaign.\n")
        refuse_accounts(cold, json.loads(file.read_text()))
        assert cold.on_machine("accounts", str(file))[0] == 1, "a file is never overwritten"
        cold.take_in(cold.accounts(first=1))
        assert cold.trouble() == ""
        cold.campaign(title="Another one")


def refuse_accounts(cold: ColdWorld, read: dict[str, list[dict[str, object]]]) -> None:
    """Files that are no accounts of ours, each with a sentence."""
    keys, other = keys_of(ENTROPY), keys_of(bytes(32))
    good = read["accounts"][0]
    for change, reason in (
        ({"xpub": private_account(ENTROPY)}, "not this account's public key"),
        ({"xpub": keys.account_xpub(1)}, "not this account's public key"),
        ({"xpub": other.account_xpub(0)}, "another seed"),
        ({"xpub": str(good["xpub"])[:-1]}, "not this account's public key"),
        ({"index": "0"}, "holds no accounts"),
        ({"fingerprint": "xyz"}, "holds no accounts"),
    ):
        (cold.stick / "wrong.json").write_text(json.dumps({**read, "accounts": [{**good, **change}]}))
        code, said = cold.on_server("import-accounts", str(cold.stick / "wrong.json"))
        assert code == 1 and reason in said, (change, said)
    (cold.stick / "wrong.json").write_text(json.dumps({**read, "network": "signet"}))
    assert "are for signet" in cold.on_server("import-accounts", str(cold.stick / "wrong.json"))[1]


def test_a_hot_payout_to_a_multisig(world: World) -> None:
    payout = multisig(world.node)
    campaign = world.campaign(goal_sats=200_000, payout_address=payout)
    world.paid(campaign, 250_000)
    world.close(campaign)
    world.node.mine()
    world.sync()
    assert world.summary(campaign).state == "released"
    (batch,) = world.snapshot(campaign).batches
    assert unspent_sats(world.node, payout) == [250_000 - batch.attempts[-1].fee_sats]


def test_no_signer_runs_where_the_mode_is_cold(tmp_path: Path) -> None:
    """And mainnet is as closed to signatures by hand as it is to others."""
    settings = Settings.from_env({"CROWDFUND_SIGNER": "cold", "CROWDFUND_DATA_DIR": str(tmp_path)})
    with pytest.raises(WorldError, match="no seed belongs here"):
        run_signer(settings)
    with pytest.raises(WorldError, match="not fit for mainnet"):
        run_worker(replace(settings, network="mainnet"))
