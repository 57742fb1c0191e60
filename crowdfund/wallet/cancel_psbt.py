"""The transaction that a creator signs to cancel: built for whatever wallet holds the payout address, and read back.

No key of ours is in it. What comes back is believed in nothing: `check_cancels` says whether it cancels, and the
network whether it is signed rightly.
"""

from __future__ import annotations

from embit.finalizer import finalize_psbt
from embit.psbt import PSBT
from embit.script import Script
from embit.transaction import Transaction, TransactionOutput

from crowdfund.errors import UserError
from crowdfund.wallet.blocks import parse_tx
from crowdfund.wallet.fees import MAX_FEE_SATS, MAX_FEERATE_SAT_VB, dust_limit_sats, output_weight
from crowdfund.wallet.psbt import MAGIC, MAX_BYTES, UNREADABLE, UNSIGNED_TX_KEY, from_text
from crowdfund.wallet.transactions import TxInput, TxOutput, UnsignedTx

OVERHEAD_VSIZE = 12
# In vB, generously: several signers may stand behind a script's hash.
INPUT_VSIZE = {"p2pkh": 150, "p2sh": 300, "p2wpkh": 69, "p2wsh": 160, "p2tr": 69}
NO_INDEX = 0


def kind_of(script: bytes) -> str:
    """Which kind of output script this is, as far as payout addresses go."""
    if script[:1] == b"\x51":
        return "p2tr"
    if script[:1] == b"\x00":
        return "p2wpkh" if len(script) == 22 else "p2wsh"
    return "p2sh" if script[:1] == b"\xa9" else "p2pkh"


def vsize_at_most(payout_script: bytes, mark_script: bytes) -> int:
    """Of the cancellation, in vB, with usual signatures."""
    outputs = sum(output_weight(script) for script in (payout_script, mark_script))
    return OVERHEAD_VSIZE + INPUT_VSIZE[kind_of(payout_script)] + -(-outputs // 4)


def read_coin(text: str, payout_script: bytes) -> tuple[bytes, int]:
    """(raw transaction, number of its largest output to the payout script) from what was pasted. Raises UserError."""
    try:
        raw = bytes.fromhex("".join(text.split()))
        outputs = parse_tx(raw).outputs
    except ValueError as error:
        raise UserError(
            "This is no transaction in hex. Copy the whole raw transaction from your wallet.", "coin"
        ) from (error)
    own = [(sats, -number) for number, (sats, script) in enumerate(outputs) if script == payout_script]
    if not own:
        raise UserError("This transaction pays nothing to the payout address of the campaign.", "coin")
    return raw, -max(own)[1]


def build(spent: bytes, vout: int, payout_script: bytes, mark_script: bytes, feerate_sat_vb: int) -> UnsignedTx:
    """The cancellation that spends output `vout` of the raw transaction `spent` back to the payout script. Raises
    UserError where that holds too little, or the fee is beyond the caps."""
    if not 1 <= feerate_sat_vb <= MAX_FEERATE_SAT_VB:
        raise UserError(f"A feerate is a whole number from 1 to {MAX_FEERATE_SAT_VB} sat/vB.", "feerate")
    tx = parse_tx(spent)
    value_sats = tx.outputs[vout][0]
    fee_sats = vsize_at_most(payout_script, mark_script) * feerate_sat_vb
    if fee_sats > MAX_FEE_SATS:
        raise UserError(f"The fee would be {fee_sats:,} sat, more than {MAX_FEE_SATS:,}.", "feerate")
    least_sats = fee_sats + dust_limit_sats(payout_script)
    if value_sats < least_sats:
        raise UserError(
            f"This coin holds {value_sats:,} sat; at {feerate_sat_vb} sat/vB at least {least_sats:,} are needed. "
            "Send a larger one to the payout address first.",
            "coin",
        )
    outputs = TxOutput(payout_script, value_sats - fee_sats), TxOutput(mark_script, 0)
    return UnsignedTx((TxInput(tx.txid, vout, value_sats, NO_INDEX),), outputs, 0)


def cancelling_psbt(spent: bytes, tx: UnsignedTx) -> bytes:
    """The PSBT (BIP 174) of `tx`, with the whole transaction that made its coin, which signers of every kind read."""
    psbt = PSBT(Transaction.parse(tx.serialize()))
    scope, whole, (made,) = psbt.inputs[0], Transaction.parse(spent), tx.inputs
    script = parse_tx(spent).outputs[made.vout][1]
    if kind_of(script) != "p2tr":
        scope.non_witness_utxo = whole
    if kind_of(script) in ("p2wpkh", "p2wsh", "p2tr"):
        scope.witness_utxo = TransactionOutput(made.value_sats, Script(script))
    return psbt.serialize()


def read_brought(data: bytes) -> bytes:
    """The signed transaction in what a wallet gave back: a PSBT (bytes or base64), or a transaction in hex. Raises
    UserError."""
    if len(data) > MAX_BYTES:
        raise UserError(f"This has more than {MAX_BYTES} bytes.", "signed")
    try:
        binary = data if data.startswith(MAGIC) else from_text(data)
        if binary.startswith(MAGIC):
            return _from_psbt(binary)
        tx = Transaction.parse(binary)
        if tx.serialize() != binary:
            raise ValueError("not spelt as it should be")
    except UserError as error:
        raise UserError(error.sentence[:1].upper() + error.sentence[1:], "signed") from error
    except UNREADABLE as error:
        raise UserError("This is neither a signed PSBT (BIP 174) nor a signed transaction.", "signed") from error
    return _signed(tx)


def _from_psbt(binary: bytes) -> bytes:
    if not binary.startswith(MAGIC + UNSIGNED_TX_KEY):
        raise UserError("this is a PSBT of another version than 0 (BIP 174).")
    tx = finalize_psbt(PSBT.parse(binary))
    if tx is None:
        raise UserError("this PSBT is not signed by all who must; let your wallet finish it.")
    return _signed(tx)


def _signed(tx: Transaction) -> bytes:
    if not tx.vin or any(not i.witness.items and not i.script_sig.data for i in tx.vin):
        raise UserError("This transaction is not signed.", "signed")
    return tx.serialize()
