from embit.ec import PublicKey
from embit.script import Script, Witness
from embit.transaction import Transaction, TransactionOutput

class DerivationPath:
    def __init__(self, fingerprint: bytes, derivation: list[int]) -> None: ...

class InputScope:
    witness_utxo: TransactionOutput | None
    non_witness_utxo: Transaction | None
    partial_sigs: dict[PublicKey, bytes]
    sighash_type: int | None
    bip32_derivations: dict[PublicKey, DerivationPath]
    final_scriptsig: Script | None
    final_scriptwitness: Witness | None

class OutputScope:
    value: int
    script_pubkey: Script

class PSBT:
    inputs: list[InputScope]
    outputs: list[OutputScope]
    tx: Transaction
    def __init__(self, tx: Transaction) -> None: ...
    @classmethod
    def parse(cls, b: bytes) -> PSBT: ...
    def serialize(self) -> bytes: ...
