"""Licences as manifests name them, as one SPDX expression that `check_license` lets pass. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from crowdfund.errors import UserError
from crowdfund.projects.licenses import check_license
from crowdfund.projects.manifests.prefill import LICENSE_LIMIT, Found
from crowdfund.projects.manifests.spot import Spot

_SPDX_PAGE = re.compile(r"https?://(?:www\.)?spdx\.org/licenses/(.+?)(?:\.html|\.json|\.txt)?/?", re.IGNORECASE)


def one_license(spot: Spot) -> Found[str] | None:
    """The licence at a place. What is no open licence goes to the refused ones, with its sentence."""
    if not (text := spot.raw()):
        return None
    try:
        return spot.found(check_license(_bare(text)))
    except UserError as error:
        spot.log.refuse(text, spot.at, error.sentence)
        return None


def joined_license(spots: Iterable[Spot], place: Spot) -> Found[str] | None:
    """One expression for all of these; `place` is where they stand together.

    Where a file lists several and does not say whether one may choose, all of them hold: that promises the least.
    """
    found = list(dict.fromkeys(one.value for spot in spots if (one := one_license(spot))))
    if len(found) < 2:
        return place.found(found[0]) if found else None
    place.log.warn(f"“{place.at}” lists {len(found)} licences; they were joined with AND, so that all of them hold.")
    whole = " AND ".join(f"({one})" if " OR " in one else one for one in found)
    if len(whole) <= LICENSE_LIMIT:
        return place.found(check_license(whole))
    place.log.warn(f"Together the licences in “{place.at}” are too long; the first was taken.")
    return place.found(found[0])


def _bare(text: str) -> str:
    if page := _SPDX_PAGE.fullmatch(text):
        text = page[1]
    return text[5:] if text[:5].casefold() == "spdx:" else text
