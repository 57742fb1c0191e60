"""Who may do what with a project: one table, role by action. Pure; every page and every API call asks here."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What a person is in a project."""

    OWNER = "owner"
    EDITOR = "editor"
    TREASURER = "treasurer"


class Action(StrEnum):
    """What can be done with a project and its campaigns, beyond what everybody may."""

    SEE_DRAFTS = "see drafts"
    WRITE = "write texts, goal and deadline, what becomes open, budget, rewards and help wanted"
    PAYOUT = "give the payout address"
    PUBLISH = "freeze the terms and publish"
    ANSWER = "answer questions and offers of help, and report progress"
    UPDATE = "write updates"
    MODERATE = "hide what others wrote"
    DASHBOARD = "see the dashboard"
    OWN_MONEY = "declare own money"
    CANCEL = "cancel a campaign"
    PROJECT = "change the project's own page"
    PEOPLE = "invite people and change roles"


ALLOWED: dict[Action, frozenset[Role]] = {
    Action.SEE_DRAFTS: frozenset({Role.OWNER, Role.EDITOR, Role.TREASURER}),
    Action.WRITE: frozenset({Role.OWNER, Role.EDITOR}),
    Action.PAYOUT: frozenset({Role.OWNER, Role.TREASURER}),
    Action.PUBLISH: frozenset({Role.OWNER, Role.TREASURER}),
    Action.ANSWER: frozenset({Role.OWNER, Role.EDITOR}),
    Action.UPDATE: frozenset({Role.OWNER, Role.EDITOR}),
    Action.MODERATE: frozenset({Role.OWNER, Role.EDITOR}),
    Action.DASHBOARD: frozenset({Role.OWNER, Role.EDITOR, Role.TREASURER}),
    Action.OWN_MONEY: frozenset({Role.OWNER, Role.EDITOR, Role.TREASURER}),
    Action.CANCEL: frozenset({Role.OWNER, Role.TREASURER}),
    Action.PROJECT: frozenset({Role.OWNER, Role.EDITOR}),
    Action.PEOPLE: frozenset({Role.OWNER}),
}

DESCRIPTIONS = {
    Role.OWNER: "may do everything, and says who else is in",
    Role.EDITOR: "writes drafts, updates and answers; cannot publish, nor touch the payout address",
    Role.TREASURER: "gives the payout address and publishes; cannot change what is written",
}


def may(role: Role | str | None, action: Action) -> bool:
    """Whether somebody with this role (None: nobody of the project) may do it."""
    return role is not None and Role(role) in ALLOWED[action]


def refusal(role: Role | str, action: Action) -> str:
    """Why not, in a sentence that says who could."""
    who = " or ".join(f"{'an' if r[0] in 'aeo' else 'a'} {r}" for r in Role if r in ALLOWED[action])
    return f"As {'an' if str(role)[0] in 'aeo' else 'a'} {role} of this project you may not {action}; {who} may."
