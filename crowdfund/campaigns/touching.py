"""Which figures the end of the chain moves, without any coin having moved. Marks rows, derives nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import ColumnElement, select, true, update
from sqlalchemy.orm import Session

from crowdfund.campaigns.figure_models import CampaignFigures
from crowdfund.campaigns.lifecycle import CampaignState
from crowdfund.campaigns.models import Coin, Pledge

ON_THE_WAY = (CampaignState.RELEASING, CampaignState.REFUNDING)
# More than any terms ask for: what lies deeper is final at either tip.
DEEPEST = 200
IN_A_PART = 500


def touch_moved(session: Session, height_before: int, height_after: int, campaign_ids: Collection[str]) -> None:
    """The tip has gone from one height to another. `campaign_ids` are those that may have opened or closed; a
    settlement becomes final with blocks, and is so no more where they are lost."""
    touch(session, campaign_ids)
    if height_after > height_before:
        _touch(session, CampaignFigures.state.in_([state.value for state in ON_THE_WAY]))
    if height_after < height_before:
        spent = select(Pledge.campaign_id).join(Coin, Coin.pledge_id == Pledge.id)
        _touch(session, CampaignFigures.campaign_id.in_(spent.where(Coin.spent_height > height_after - DEEPEST)))


def touch_all(session: Session) -> None:
    """Nothing is sure, as after a restore: every row is derived anew from facts."""
    _touch(session, true())


def touch(session: Session, campaign_ids: Collection[str]) -> None:
    """These are to be derived anew."""
    for part in _parts(campaign_ids):
        _touch(session, CampaignFigures.campaign_id.in_(part))


def _touch(session: Session, wanted: ColumnElement[bool]) -> None:
    untouched = update(CampaignFigures).where(wanted, ~CampaignFigures.touched)
    session.execute(untouched.values(touched=True), execution_options={"synchronize_session": False})


def _parts(ids: Collection[str]) -> Iterable[list[str]]:
    listed = sorted(ids)
    return (listed[i : i + IN_A_PART] for i in range(0, len(listed), IN_A_PART))
