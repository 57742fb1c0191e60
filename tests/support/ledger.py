"""The ledger under test: read back by plain SQL, and held against the facts by the product's own checks."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

from crowdfund.campaigns import checking, thefts
from crowdfund.db import Database

AT_ADDRESS = ("counted", "maturing", "late", "dust", "over_cap", "in_settlement", "unclaimed")


def holds(database: Database) -> None:
    """Every check that needs no chain holds, but for what a thief has done and nobody has acknowledged."""
    with database.reading() as session:
        found = [breach.sentence for breach in checking.check_books(session)]
        stolen = thefts.foreign_spends(session)
        zero = session.scalar(text("SELECT COALESCE(sum(amount_sats), 0) FROM entries"))
    assert zero == 0
    assert [one for one in found if "not ours" not in one] == []
    assert bool(stolen) == bool(found), found


def at(session: Session, *accounts: str) -> int:
    """What these accounts hold in all campaigns, summed up from the entries."""
    names = ", ".join(f"'{account}'" for account in accounts)
    query = f"SELECT COALESCE(sum(amount_sats), 0) FROM entries WHERE account IN ({names})"
    return int(session.scalar(text(query)) or 0)


def lying(database: Database) -> int:
    """What the ledger has at addresses, in satoshi."""
    with database.reading() as session:
        return at(session, *AT_ADDRESS)


def steps(database: Database) -> dict[str, list[tuple[str, str, int, bool]]]:
    """The transfers of each coin, by its transaction: (from, to, satoshi, is it a contra transfer?)."""
    with database.reading() as session:
        found: dict[str, list[tuple[str, str, int, bool]]] = {
            txid: [] for (txid,) in session.execute(text("SELECT txid FROM coins"))
        }
        rows = session.execute(
            text(
                "SELECT c.txid, t.from_account, t.to_account, t.amount_sats, t.reverses IS NOT NULL FROM transfers t"
                " JOIN coins c ON c.id = t.coin_id ORDER BY t.id"
            )
        )
        for txid, giver, taker, sats, contra in rows:
            found[txid].append((giver, taker, sats, bool(contra)))
        return found
