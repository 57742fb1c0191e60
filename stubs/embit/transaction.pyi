from embit.script import Script, Witness

class TransactionInput:
    txid: bytes
    vout: int
    sequence: int
    witness: Witness
    script_sig: Script

class TransactionOutput:
    value: int
    script_pubkey: Script
    def __init__(self, value: int, script_pubkey: Script) -> None: ...

class Transaction:
    version: int
    vin: list[TransactionInput]
    vout: list[TransactionOutput]
    locktime: int
    def __init__(
        self, version: int, vin: list[TransactionInput], vout: list[TransactionOutput], locktime: int
    ) -> None: ...
    @classmethod
    def parse(cls, b: bytes) -> Transaction: ...
    def serialize(self) -> bytes: ...
    def txid(self) -> bytes: ...
    def sighash_segwit(self, input_index: int, script_pubkey: Script, value: int) -> bytes: ...
