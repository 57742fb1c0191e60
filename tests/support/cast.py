"""Two projects with everything that can belong to somebody, and everybody who could want it: for the matrix of rights.

Nothing is asked of the pages here but to let people log in, so that whatever they allow is theirs to answer for.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from flask import Flask
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from crowdfund.accounts import people as accounts
from crowdfund.accounts import second, sessions, tokens
from crowdfund.accounts.history import Visit
from crowdfund.accounts.models import Passkey
from crowdfund.campaigns import cancel_desk, gallery, helping, moderation, posts, service, settling, updates
from crowdfund.campaigns.models import ApiToken, Campaign, Coin, Creator, PledgeReceipt, TimelockedRefund
from crowdfund.notices import deriving, hooks, outbox, subscribing
from crowdfund.notices.models import Notice
from crowdfund.projects import people, writing
from crowdfund.projects.pictures import PictureFile
from crowdfund.projects.roles import Role
from crowdfund.projects.writing import ProjectDraft
from crowdfund.wallet.addresses import address_of, script_of
from support.details import GOOD
from support.paper import BLOCK_TIME, PAYOUT, START, Paper, coin
from support.site import Visitor
from support.world import PASSWORD

# Attempts are counted, also those that come to nothing.
TALLIES = ("attempt_windows",)
STATES = ("draft", "open", "ended")
NOW = datetime.now(UTC)


@dataclass(frozen=True)
class Secret:
    """A text that only some may ever be shown: people with one of these roles in its project; nobody without."""

    what: str
    text: str
    readers: frozenset[Role] = frozenset()


@dataclass
class Estate:
    """What belongs to one project. `things` are the parts of addresses and forms that name it, by their names there."""

    letter: str
    ids: dict[Role | None, int] = field(default_factory=dict)
    campaigns: dict[str, str] = field(default_factory=dict)
    things: dict[str, str] = field(default_factory=dict)
    secrets: list[Secret] = field(default_factory=list)

    def about(self, state: str) -> dict[str, str]:
        """The things with the campaign in this state."""
        named = {"campaign_id": self.campaigns.get(state, ""), "title": self.title(state), "number": "1"}
        return {**self.things, **named}

    def title(self, state: str) -> str:
        """Of the campaign in this state."""
        return f"Campaign {self.letter}, {state}"

    def name(self, role: Role | None) -> str:
        """The account of somebody in the project; without a role, of somebody who has left it."""
        return f"{role or 'leaver'} of {self.letter}"


@dataclass(frozen=True)
class Person:
    """Somebody at a browser or with a program: what comes with each of their requests, and what they are in which
    project."""

    name: str
    roles: dict[str, Role]
    cookie: str = ""
    csrf_token: str = ""
    bearer: str = ""
    known: bool = False

    def headers(self) -> dict[str, str]:
        """Of every request."""
        told = {"Cookie": f"session={self.cookie}"} if self.cookie else {}
        return told | ({"Authorization": f"Bearer {self.bearer}"} if self.bearer else {})


def estates(paper: Paper) -> dict[str, Estate]:
    """Both projects; the second is another one in each respect."""
    made = {letter: Estate(letter) for letter in "AB"}
    for each in made.values():
        with paper.database.transaction() as session:
            _people(session, each)
            _campaigns(session, paper, each)
    for each in made.values():
        _pledges(paper, each)
    paper.mine(blocks=15)
    for each in made.values():
        with paper.database.transaction() as session:
            assert settling.decide_campaign(session, each.campaigns["ended"], 2)
            _keepsakes(session, each)
            _said(session, each)
            _told(session, each)
    return made


def persons(app: Flask, paper: Paper, held: dict[str, Estate]) -> list[Person]:
    """A visitor, a stranger, and everybody of both projects: with a browser, and again with a program's token."""
    found = [logged_in(app, "", {})]
    with paper.database.transaction() as session:
        stranger = accounts.sign_up(session, "stranger", PASSWORD, NOW)
        for number in (stranger.id, *(number for each in held.values() for role, number in each.ids.items())):
            if subscribing.of_creator(session, number) is None:
                subscribing.follow_creator(session, number, f"account-{number}@mail.example.org", NOW)
    found.append(logged_in(app, "stranger", {}))
    for each in held.values():
        for role in (*Role, None):
            found.append(logged_in(app, each.name(role), {each.letter: role} if role else {}))
    with paper.database.transaction() as session:
        given = {each.name: accounts.create_token(session, each.name, NOW) for each in found if each.known}
        session.execute(update(ApiToken).values(last_used_at=NOW + timedelta(days=1)))  # so that no use is written down
    return found + [Person(each.name, each.roles, bearer=given[each.name], known=True) for each in found if each.known]


def ways_in(paper: Paper, held: dict[str, Estate]) -> None:
    """A passkey beside each password, and an authenticator app half set up; nobody logs in by a password alone any
    more. An owner's passkey and another browser of theirs are things that others could want."""
    with paper.database.transaction() as session:
        for creator in session.scalars(select(Creator)).all():
            session.add(_passkey(creator.id))
            second.begin_app(session, creator.id, NOW)
        for each in held.values():
            owner, agent = each.ids[Role.OWNER], f"A browser of {each.letter}"
            sessions.begin(session, owner, "password", Visit("192.0.2.1", agent, NOW))
            key = session.scalars(select(Passkey).where(Passkey.creator_id == owner)).one()
            row, token = sessions.of_creator(session, owner)[0], tokens.of_creator(session, owner)[0]
            each.things |= {"passkey_id": str(key.id), "session_id": str(row.id), "token_id": str(token.id)}
            each.secrets.append(Secret("the name of a passkey", key.name, frozenset({Role.OWNER})))


def _passkey(number: int) -> Passkey:
    name = f"Key {number} of somebody"
    return Passkey(
        creator_id=number, credential_id=name.encode(), public_key=b"x" * 32,
        user_handle=sha256(name.encode()).digest(), sign_count=0, name=name, created_at=NOW,
    )  # fmt: skip


def logged_in(app: Flask, name: str, roles: dict[str, Role]) -> Person:
    """Somebody with a session of their own, and the token that belongs into their forms."""
    visitor = Visitor(app)
    if name:
        assert visitor.send("/login", {"name": name, "password": PASSWORD}).status_code == 303
    token = visitor.csrf_token("/login")
    cookie = visitor.client.get_cookie("session")
    assert cookie is not None
    return Person(name or "nobody", roles, cookie.value, token, known=bool(name))


class Stored:
    """The database of the site: whether anybody has written to it, what is in it, and how to have it back."""

    def __init__(self, paper: Paper) -> None:
        self._file = sqlite3.connect(str(paper.database.engine.url.database), isolation_level=None)
        self._kept = sqlite3.connect(":memory:")
        self.keep()

    def keep(self) -> None:
        """This is how it is to be."""
        self._file.backup(self._kept)
        self._rows, self._seen = dump(self._file), self._version()

    def changes(self) -> list[str]:
        """What is not as it was kept: tables and rows. Free where nobody has committed since."""
        if not self.touched():
            return []
        now = dump(self._file)
        return [f"{table}: {row}" for table, row in sorted(now ^ self._rows) if table not in TALLIES]

    def touched(self) -> bool:
        """Has anybody committed?"""
        return self._version() != self._seen

    def put_back(self) -> None:
        """As if nothing had happened."""
        self._kept.backup(self._file)
        self._seen = self._version()

    def close(self) -> None:
        """Let go of it."""
        self._file.close()
        self._kept.close()

    def _version(self) -> int:
        return int(self._file.execute("PRAGMA data_version").fetchone()[0])


def dump(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    """Every row of every table."""
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {(name, repr(row)) for name in names for row in connection.execute(f'SELECT rowid, * FROM "{name}"')}


def address(name: str) -> str:
    """An address that `name` names."""
    return address_of(b"\x00\x14" + sha256(name.encode()).digest()[:20], "regtest")


def coin_at(payout: str) -> str:
    """A transaction, raw and in hex, that pays to an address."""
    script = script_of(payout, "regtest")
    paid = (100_000).to_bytes(8, "little") + bytes([len(script)]) + script
    return (b"\2\0\0\0\1" + b"\7" * 36 + b"\0" + b"\xff" * 4 + b"\1" + paid + bytes(4)).hex()


def _people(session: Session, made: Estate) -> None:
    for role in (*Role, None):
        made.ids[role] = accounts.sign_up(session, made.name(role), PASSWORD, NOW).id
    owner, url = made.ids[Role.OWNER], f"https://example.org/{made.letter}.git"
    project = writing.make(session, owner, ProjectDraft(f"Project {made.letter}", "hardware", url, "", "MIT"))
    for role in (Role.EDITOR, Role.TREASURER):
        people.add_member(session, project.id, made.ids[role], role)
    people.add_member(session, project.id, made.ids[None], Role.OWNER)
    people.leave(session, owner, project.id, made.ids[None])
    token = people.invite(session, owner, project.id, Role.EDITOR)
    helper = accounts.sign_up(session, f"helper of {made.letter}", PASSWORD, NOW)
    people.add_member(session, project.id, helper.id, Role.EDITOR)
    made.things |= {"slug": project.slug, "invitation": token, "member": str(helper.id)}
    made.things |= {"repository": url, "coin": coin_at(PAYOUT)}
    made.secrets.append(Secret("an invitation", token))


def _campaigns(session: Session, paper: Paper, made: Estate) -> None:
    for state, blocks in (("draft", 90), ("open", 90), ("ended", 13)):
        title = made.title(state)
        draft = paper.draft(title=title, deadline_at=START + blocks * BLOCK_TIME, project_url=made.things["repository"])
        owner = made.ids[Role.OWNER]
        saved = service.save_draft(session, paper.settings, owner, draft, details=GOOD)
        made.campaigns[state] = saved.id
        if state == "draft":
            _picture(session, made, saved)
            made.secrets.append(Secret("the title of a draft", title, frozenset(Role)))
        else:
            service.publish(session, paper.settings, owner, saved.id)


def _picture(session: Session, made: Estate, draft: Campaign) -> None:
    data = f"the picture of {made.letter}".encode()
    file = PictureFile("webp", 100, 100, data)
    picture = gallery.add(session, made.ids[Role.OWNER], draft.id, [file], f"What {made.letter} shows")
    made.things |= {"picture_id": str(picture.id), "sha256": file.sha256, "ending": "webp"}
    made.secrets.append(Secret("the picture of a draft", data.decode(), frozenset(Role)))


def _pledges(paper: Paper, made: Estate) -> None:
    back = address(f"refunds of {made.letter}")
    for state, sats in (("open", 60_000), ("ended", 1_000_000)):
        pledge = paper.pledge(made.campaigns[state], sats, back)
        paper.mine([coin(pledge, sats, f"{made.letter} {state}")])
        made.things |= {f"{state}_pledge": pledge.id}
        made.secrets.append(Secret("the link of a pledge", pledge.id))
    made.things["pledge_id"] = made.things["open_pledge"]
    made.secrets.append(Secret("a refund address", back))


def _keepsakes(session: Session, made: Estate) -> None:
    pledge = made.things["pledge_id"]
    session.add(PledgeReceipt(pledge_id=pledge, text=f"receipt of {made.letter}", signature="x", created_at=NOW))
    paid = session.scalars(select(Coin).where(Coin.pledge_id == pledge)).one()
    raw = f"refund of {made.letter}".encode()
    refund = TimelockedRefund(
        txid=sha256(raw).hexdigest(), coin_id=paid.id, raw=raw, value_sats=59_900, fee_sats=100, created_at=NOW
    )
    session.add(refund)
    made.secrets += [Secret("a receipt", f"receipt of {made.letter}"), Secret("a refund", raw.hex())]


def _said(session: Session, made: Estate) -> None:
    campaign, owner = session.get_one(Campaign, made.campaigns["open"]), session.get_one(Creator, made.ids[Role.OWNER])
    for number in (1, 2):
        updates.write(session, owner, campaign, f"Update {number}", "It sows.", NOW)
    moderation.hide(session, campaign, moderation.Target.update(2), moderation.CREATOR, "Not ours to tell.", NOW)
    asked = posts.ask(session, campaign, "Zoe", f"What waits for {made.letter}?", NOW)
    offer = helping.offer(session, campaign.id, 0, 1, "Helper", f"{made.letter}@helpers.example.org", "I weld.")
    made.things |= {"question_id": str(asked.id), "offer": str(offer.id)}
    made.secrets += [
        Secret("a question that waits", f"What waits for {made.letter}?", frozenset({Role.OWNER, Role.EDITOR})),
        Secret("how a helper is reached", f"{made.letter}@helpers.example.org", frozenset(Role)),
    ]
    reason = f"{made.letter} has no more time."
    typed = (made.title("open"), reason, made.things["coin"])
    cancel_desk.draft(session, owner, campaign.id, typed, 3, NOW)
    made.secrets.append(Secret("why a project means to cancel", reason, frozenset({Role.OWNER, Role.TREASURER})))
    ended = session.get_one(Campaign, made.campaigns["ended"])
    updates.write(session, owner, ended, "Update 1", "It was sown.", NOW)


def _told(session: Session, made: Estate) -> None:
    owner, mail = made.ids[Role.OWNER], f"{made.letter}@mail.example.org"
    hook = hooks.register(session, owner, f"https://{made.letter}.example.org/hook", ["campaign.decided"], NOW)
    held = [
        subscribing.follow_campaign(session, made.campaigns["open"], f"follower-{mail}", NOW),
        subscribing.follow_pledge(session, made.things["pledge_id"], f"backer-{mail}", NOW),
        subscribing.follow_creator(session, owner, f"owner-{mail}", NOW),
    ]
    outbox.note(session, deriving.news(session, NOW), False, NOW)
    sent = session.scalars(
        select(Notice).where(Notice.channel == outbox.WEBHOOK, Notice.recipient_id == hook.id)
    ).first()
    assert sent is not None
    sent.state, sent.finished_at = "sent", NOW
    made.things |= {"hook_id": str(hook.id), "notice_id": str(sent.id), "subscription_id": str(held[0].id)}
    for purpose in (subscribing.CONFIRM, subscribing.OFF):
        made.things[purpose] = subscribing.token(held[0], purpose)
        made.secrets.append(Secret("the link in a mail", made.things[purpose]))
    made.secrets += [Secret("a mail address", each.email) for each in held]
    made.secrets += [
        Secret("the secret of a webhook", hook.secret),
        Secret("where a webhook leads", f"{made.letter}.example.org/hook", frozenset({Role.OWNER})),
    ]
