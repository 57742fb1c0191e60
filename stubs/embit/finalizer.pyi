from embit.psbt import PSBT
from embit.transaction import Transaction

def finalize_psbt(psbt: PSBT, ignore_missing: bool = ...) -> Transaction | None: ...
