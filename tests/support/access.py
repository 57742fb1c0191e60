"""Who may use which address of the site: one line for each endpoint and method, or several where one form does several
things. `web.test_matrix` tries every line for everybody, and fails for an address that no line speaks of.

A new address gets its line in TABLE:

- `ANYBODY`: with or without an account. What belongs to a campaign is not there while that is a draft.
- `ACCOUNT`: whoever is logged in, about nobody's things but their own.
- `Action.…`: whoever has a role in the project that allows this, as `crowdfund.projects.roles` says.
- `HOLDER`: the one account that it belongs to.
- `LINK`: whoever has the link, which stands on no page of anybody else.
- `INVITED`: the same with an account, and only who is not in the project already.
- `MEMBERS`: a published campaign anybody, a draft whoever has a role in its project.
- `OFF`: nobody on this site; it is there on the test bench only.

`on` says in which states a campaign must be (`elsewhere`: the answer to its people where it is in another one), `sends`
what a form or a program sends, with `{names}` of the things that it is about. `refused` is the answer to a role that
may not do it; strangers are told that there is nothing (`stranger`), visitors where to log in (`visitor`). `changes` is
False for what is sent and writes nothing down, None where that depends on who sends it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from werkzeug.routing import Rule

from crowdfund.projects.roles import Action
from support.details import BUDGET, OPEN, PROJECT, STORY
from support.paper import PAYOUT


class Need(Enum):
    """What it takes, where it is not a role."""

    ANYBODY = auto()
    ACCOUNT = auto()
    HOLDER = auto()
    LINK = auto()
    INVITED = auto()
    MEMBERS = auto()
    OFF = auto()


ANYBODY, ACCOUNT, HOLDER, LINK, INVITED, MEMBERS, OFF = Need
DRAFT, OPEN_ONE, PUBLISHED, ANY = ("draft",), ("open",), ("open", "ended"), ("draft", "open", "ended")
REFUND_TO = "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry"


@dataclass(frozen=True)
class Line:
    """One use of an address. `needs` and so on are explained above; `csrf` is False where a program sends it."""

    endpoint: str
    method: str
    needs: Need | Action
    good: int
    on: tuple[str, ...] = ANY
    elsewhere: Mapping[str, int] = field(default_factory=dict)
    refused: int = 400
    stranger: int = 404
    visitor: int = 303
    sends: Mapping[str, object] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    changes: bool | None = False
    csrf: bool = False

    def path(self, rule: Rule, things: Mapping[str, str]) -> str:
        """The address with these things in it."""
        named = {**things, **{name: value.format(**things) for name, value in self.names.items()}}
        return re.sub(r"<(?:[^:>]*:)?([^>]*)>", lambda part: named[part[1]], rule.rule)

    def __str__(self) -> str:
        told = ", ".join(f"{name}={value}" for name, value in [*self.names.items(), *self.sends.items()][:2])
        return f"{self.method} {self.endpoint}" + (f" ({told})" if told else "")


def get(endpoint: str, needs: Need | Action, good: int = 200, **more: Any) -> Line:
    """Somebody reads."""
    return Line(endpoint, "GET", needs, good, **more)


def post(endpoint: str, needs: Need | Action, good: int = 303, **more: Any) -> Line:
    """Somebody sends a form."""
    return Line(endpoint, "POST", needs, good, **{"changes": True, "csrf": True, **more})


def call(endpoint: str, needs: Need | Action, good: int = 201, method: str = "POST", **more: Any) -> Line:
    """A program sends something, without a session."""
    return Line(endpoint, method, needs, good, **{"changes": True, "visitor": 401, **more})


def ask(endpoint: str, needs: Need | Action, **more: Any) -> Line:
    """A program reads what is not for everybody."""
    return Line(endpoint, "GET", needs, 200, **{"visitor": 401, **more})


DRAFT_FORM = {
    "title": "Another title", "summary": "Drawings.", "story": "By hand.", "goal": "1000000", "goal_unit": "sat",
    "deadline": "2026-11-23T06:00", "payout_address": PAYOUT, "project_url": "{repository}", "license": "MIT",
}  # fmt: skip
DRAFT_JSON = {
    "title": "Another title", "summary": "Drawings.", "story": "By hand.", "goal_sats": 1_000_000,
    "deadline_at": "2026-11-23T06:00:00Z", "payout_address": PAYOUT, "project_url": "https://example.org/new",
    "license": "MIT",
}  # fmt: skip
PLEDGE_FORM = {"amount": "50000", "amount_unit": "sat", "refund_address": REFUND_TO, "own": "No"}
PLEDGE_JSON = {"amount_sats": 50_000, "refund_address": REFUND_TO}
HELP_FORM = {"need": "0", "amount": "1", "name": "Zoe", "contact": "by the well", "message": "I weld."}
OTHER_PAYOUT = {"goal": "1000000", "goal_unit": "sat", "deadline": "2026-11-23T03:00", "payout_address": REFUND_TO}
MAIL_FORM = {"email": "someone@else.example.org"}
TALK_FORM = {"text": "What is there to say?"}
UPDATE_FORM = {"title": "News", "text": "It grows."}
BROUGHT = {"do": "take", "take": "0", "offer-0-key": "campaign.title", "offer-0-value": "Brought along"}
CANCEL_FORM = {"title": "{title}", "reason": "It cannot be done.", "coin": "{coin}", "feerate": "3"}
REASON = {"reason": "It is not kind."}
PROJECT_JSON = {"name": "Seed drill", "kind": "hardware", "site_url": "https://example.org/drill", "license": "MIT"}
HELP_JSON = {"need": 0, "amount": 1, "name": "Zoe", "contact": "by the well", "message": "I weld."}
CANCEL_JSON = {"title": "{title}", "reason": "It cannot be done.", "coin": "{coin}", "feerate_sat_vb": 3}
ONLY_DRAFT: dict[str, Any] = {"on": DRAFT, "elsewhere": dict.fromkeys(PUBLISHED, 400), "visitor": 401}
GONE = dict.fromkeys(PUBLISHED, 303)  # a page of drafts leads to the campaign once it is published
TO_PUBLIC: dict[str, Any] = {"on": DRAFT, "elsewhere": GONE}
OF_PUBLISHED: dict[str, Any] = {"on": PUBLISHED, "refused": 404}
MAIL_ON: dict[str, Any] = {"names": {"token": "{off}"}}
MAIL_YES: dict[str, Any] = {"names": {"token": "{confirm}"}}

TABLE: tuple[Line, ...] = (
    # What everybody reads
    get("static", ANYBODY, names={"filename": "site.css"}),
    get("public.front", ANYBODY),
    get("discovering.index", ANYBODY),
    get("public.about", ANYBODY),
    get("public.api_page", ANYBODY),
    get("public.incident_log", ANYBODY),
    get("public.source", ANYBODY),
    get("health.healthz", ANYBODY, 503),  # nobody watches the chain here
    get("health.metrics", ANYBODY),
    get("feeds.site", ANYBODY),
    get("talk.site_log", ANYBODY),
    get("live.stream", ANYBODY, names={"scope": "site", "key": "all"}),
    get("projects.show", ANYBODY),
    get("public.campaign", ANYBODY, on=PUBLISHED),
    get("public.audit", ANYBODY, on=PUBLISHED),
    get("public.bundle", ANYBODY, on=PUBLISHED),
    get("public.terms", ANYBODY, on=PUBLISHED),
    get("projects.details_text", ANYBODY, on=PUBLISHED),
    get("badges.badge", ANYBODY, on=PUBLISHED),
    get("printing.site", ANYBODY),
    get("printing.campaign", ANYBODY, on=PUBLISHED),
    get("printing.poster_pdf", ANYBODY, on=PUBLISHED),
    get("printing.poster_png", ANYBODY, on=PUBLISHED),
    get("embed.show", ANYBODY, on=PUBLISHED),
    get("embed.oembed", ANYBODY, 404),  # no address is named here: see tests/web/test_embed.py
    get("wayfinding.robots", ANYBODY),
    get("wayfinding.sitemap", ANYBODY),
    get("wayfinding.sitemap_page", ANYBODY, names={"page": "1"}),
    get("wayfinding.security", ANYBODY, 404),  # nobody is named here
    get("feeds.campaign", ANYBODY, on=PUBLISHED),
    get("feeds.campaign_json", ANYBODY, on=PUBLISHED),
    get("feeds.site_json", ANYBODY),
    get("talk.update_list", ANYBODY, on=PUBLISHED),
    get("talk.update", ANYBODY, on=PUBLISHED),
    get("talk.talk", ANYBODY, on=PUBLISHED),
    get("talk.campaign_log", ANYBODY, on=PUBLISHED),
    get("elsewhere.manifest", ANYBODY),
    get("elsewhere.manifest_urls", ANYBODY),
    get("elsewhere.campaign_manifest", ANYBODY, on=PUBLISHED),
    get("elsewhere.show", ANYBODY, on=PUBLISHED),
    # What everybody may do
    get("creators.signup", ANYBODY),
    post("creators.signup", ANYBODY, sends={"name": "somebody new", "password": "correct horse battery"}),
    get("creators.login", ANYBODY),
    post("creators.login", ANYBODY, sends={"name": "stranger", "password": "correct horse battery"}, visitor=0),
    post("creators.logout", ANYBODY, changes=None),
    # … though no browser here has a passkey, and nobody has come half the way in: see tests/web/test_accounts.py
    post("entering.signup_passkey", ANYBODY, 422, changes=False),
    post("entering.login_passkey", ANYBODY, 422, changes=False),
    get("entering.second", ANYBODY, 303, visitor=0),
    post("entering.second", ANYBODY, visitor=0, changes=False),
    post("entering.second_passkey", ANYBODY, visitor=0, changes=False),
    get("entering.recover", ANYBODY),
    post("entering.recover", ANYBODY, 422, changes=False),
    post("entering.options", ANYBODY, 200, sends={"purpose": "log_in"}),
    get("pledges.new", ANYBODY, on=PUBLISHED),
    post("pledges.new", ANYBODY, on=OPEN_ONE, elsewhere={"ended": 422}, sends=PLEDGE_FORM),
    get("projects.offer_help", ANYBODY, on=PUBLISHED),
    post("projects.offer_help", ANYBODY, on=PUBLISHED, sends=HELP_FORM),
    post("talk.talk", ANYBODY, on=PUBLISHED, sends=TALK_FORM),
    get("telling.follow", ANYBODY, on=PUBLISHED),
    post("telling.follow", ANYBODY, on=PUBLISHED, sends=MAIL_FORM),
    # Behind a link that is a secret
    get("units.choose", ANYBODY, 303, names={"unit": "btc"}),
    get("pledges.show", LINK),
    get("keepsakes.receipt", LINK),
    get("keepsakes.refunds", LINK),
    get("talk.backer_comment", LINK),
    post("talk.backer_comment", LINK, sends=TALK_FORM),
    # … and with the text to sign: what is signed, tests/web/test_readdressing.py brings
    get("readdressing.show", LINK),
    post("readdressing.show", LINK, 200, sends={"address": PAYOUT}, changes=False),
    get("telling.pledge", LINK),
    post("telling.pledge", LINK, sends=MAIL_FORM),
    post("telling.pledge_forget", LINK),
    get("telling.confirm", LINK, **MAIL_YES),
    post("telling.confirm", LINK, **MAIL_YES),
    get("telling.off", LINK, **MAIL_ON),
    post("telling.off_now", LINK, 200, csrf=False, **MAIL_ON),
    # Accounts: their own things
    get("creators.dashboard", ACCOUNT),
    get("creators.draft_new", ACCOUNT),
    post("creators.draft_new", ACCOUNT, sends={**DRAFT_FORM, "project_url": "https://example.org/new"}),
    get("wizard.start", ACCOUNT),
    post("wizard.start", ACCOUNT, sends=PROJECT),
    get("accounts.account", ACCOUNT),
    get("accounts.confirm", ACCOUNT),
    post("accounts.confirm", ACCOUNT, 422, sends={"password": "not this one"}),
    post("accounts.confirm_passkey", ACCOUNT, 422, changes=False),
    get("accounts.passkey_new", ACCOUNT),
    post("accounts.passkey_new", ACCOUNT, 422, changes=False),
    get("accounts.password", ACCOUNT),
    post("accounts.password", ACCOUNT, sends={"password": "another good sentence"}),
    post("accounts.password_remove", ACCOUNT),
    get("accounts.app", ACCOUNT),
    post("accounts.app", ACCOUNT, 422, sends={"code": "nonsense"}, changes=False),
    post("accounts.app_begin", ACCOUNT),
    post("accounts.app_remove", ACCOUNT),
    post("accounts.codes_new", ACCOUNT, 200),
    get("accounts.codes_confirm", ACCOUNT),
    post("accounts.codes_confirm", ACCOUNT, 422, sends={"code": "nonsense"}, changes=False),
    post("accounts.sessions_end", ACCOUNT),
    get("accounts.name", ACCOUNT),
    post("accounts.name", ACCOUNT, 422, sends={"name": ""}, changes=False),  # terms hold the names of some
    get("accounts.close", ACCOUNT),
    post("accounts.close", ACCOUNT, changes=None),  # whoever has published stays
    get("tokens.index", ACCOUNT),
    post("tokens.new", ACCOUNT, 201, sends={"token_name": "export", "scopes": "read"}),
    post("tokens.revoke", HOLDER),
    post("accounts.session_end", HOLDER),
    post("accounts.passkey_rename", HOLDER, sends={"passkey_name": "Another name"}),
    post("accounts.passkey_remove", HOLDER),
    get("hooks.index", ACCOUNT),
    post("hooks.new", ACCOUNT, 201, sends={"url": "https://example.org/hook", "events": "campaign.decided"}),
    post("telling.creator", ACCOUNT, sends=MAIL_FORM),
    post("telling.creator_forget", ACCOUNT),
    get("hooks.show", HOLDER),
    post("hooks.again", HOLDER),
    post("hooks.delete", HOLDER),
    # An invitation is for whoever has its link and an account, and is not in the project already
    get("projects.join", INVITED, names={"token": "{invitation}"}),
    post("projects.join", INVITED, names={"token": "{invitation}"}),
    # Drafts
    post("wizard.start", Action.WRITE, refused=422, stranger=422, sends={"project": "{slug}"}),
    get("creators.draft_edit", Action.SEE_DRAFTS, **TO_PUBLIC),
    post("creators.draft_edit", Action.WRITE, refused=422, sends=DRAFT_FORM, **TO_PUBLIC),
    get("creators.preview", Action.SEE_DRAFTS, **TO_PUBLIC),
    get("wizard.step", Action.SEE_DRAFTS, names={"step": "story"}, **TO_PUBLIC),
    post("wizard.step", Action.WRITE, refused=422, names={"step": "story"}, sends=STORY, **TO_PUBLIC),
    post("wizard.step", Action.WRITE, refused=422, names={"step": "open"}, sends=OPEN, **TO_PUBLIC),
    post("wizard.step", Action.WRITE, refused=422, names={"step": "budget"}, sends=BUDGET, **TO_PUBLIC),
    post("wizard.step", Action.PAYOUT, refused=422, names={"step": "money"}, sends=OTHER_PAYOUT, **TO_PUBLIC),
    get("importing.draft", Action.WRITE, **TO_PUBLIC),
    post("importing.draft", Action.WRITE, sends=BROUGHT, **TO_PUBLIC),
    get("pictures.edit", Action.SEE_DRAFTS, **TO_PUBLIC),
    post("pictures.add", Action.WRITE, refused=422, sends={"alt": "A drill", "picture": "a file"}, **TO_PUBLIC),
    post("pictures.change", Action.WRITE, refused=422, sends={"do": "remove"}, **TO_PUBLIC),
    get("pictures.show", Action.SEE_DRAFTS, visitor=404),
    post("wizard.ask_review", Action.PUBLISH, on=DRAFT, elsewhere=GONE),
    post("creators.publish", Action.PUBLISH, refused=303, **TO_PUBLIC),
    # The project
    get("projects.edit", Action.PROJECT),
    post("projects.edit", Action.PROJECT, sends=PROJECT),
    get("proofs.proof", Action.PROJECT),
    post("proofs.proof", Action.PROJECT),
    get("projects.team", Action.SEE_DRAFTS),
    post("projects.change_team", Action.PEOPLE, 200, refused=303, sends={"deed": "invite", "role": "editor"}),
    post(
        "projects.change_team", Action.PEOPLE, refused=303,
        sends={"deed": "role", "member": "{member}", "role": "owner"},
    ),
    post("projects.change_team", Action.PEOPLE, refused=303, sends={"deed": "leave", "member": "{member}"}),
    # Campaigns, once they are published
    get("projects.deliverables", Action.ANSWER),
    post(
        "projects.deliverables", Action.ANSWER, on=PUBLISHED, elsewhere={"draft": 422},
        sends={"number": "0", "state": "there", "url": "https://example.org/there"},
    ),
    get("projects.offers", Action.SEE_DRAFTS),
    post(
        "projects.offers", Action.ANSWER, on=OPEN_ONE, elsewhere={"draft": 404, "ended": 404}, refused=303,
        sends={"offer": "{offer}", "state": "accepted", "answer": "Thank you."},
    ),
    get("talk.update_new", Action.UPDATE, **OF_PUBLISHED),
    post("talk.update_new", Action.UPDATE, sends=UPDATE_FORM, **OF_PUBLISHED),
    get("talk.update_edit", Action.UPDATE, **OF_PUBLISHED),
    post("talk.update_edit", Action.UPDATE, sends=UPDATE_FORM, **OF_PUBLISHED),
    get("talk.update_edit", Action.UPDATE, 400, on=OPEN_ONE, refused=404, names={"number": "2"}),  # it is hidden
    get("talk.answer", Action.ANSWER, on=OPEN_ONE, refused=404),
    post("talk.answer", Action.ANSWER, on=OPEN_ONE, refused=404, sends=TALK_FORM),
    post("talk.approve", Action.ANSWER, on=OPEN_ONE, refused=404),
    get("talk.creator_comment", Action.ANSWER, **OF_PUBLISHED),
    post("talk.creator_comment", Action.ANSWER, sends=TALK_FORM, **OF_PUBLISHED),
    get("talk.hide", Action.MODERATE, names={"kind": "update"}, **OF_PUBLISHED),
    post("talk.hide", Action.MODERATE, names={"kind": "update"}, sends=REASON, **OF_PUBLISHED),
    post(
        "talk.hide", Action.MODERATE, on=OPEN_ONE, refused=404, names={"kind": "post", "number": "{question_id}"},
        sends=REASON,
    ),
    post("talk.hide", Action.MODERATE, names={"kind": "pledge", "number": "0"}, sends=REASON, **OF_PUBLISHED),
    get("cancelling.show", Action.CANCEL, **OF_PUBLISHED),
    post("cancelling.show", Action.CANCEL, on=OPEN_ONE, elsewhere={"ended": 422}, refused=404, sends=CANCEL_FORM),
    get("cancelling.psbt", Action.CANCEL, on=OPEN_ONE, elsewhere={"ended": 400}, refused=404),
    # What is brought must be signed: see tests/web/test_cancelling.py
    post("cancelling.bring", Action.CANCEL, 422, sends={"signed": "nonsense"}, changes=False, **OF_PUBLISHED),
    get("dashboard.show", Action.DASHBOARD, **OF_PUBLISHED),
    get("dashboard.as_csv", Action.DASHBOARD, **OF_PUBLISHED),
    get("dashboard.as_json", Action.DASHBOARD, **OF_PUBLISHED),
    post("dashboard.declare", Action.OWN_MONEY, sends={"number": "0", "own": "yes"}, **OF_PUBLISHED),
    # Programs
    get("api.document", ANYBODY),
    get("api.campaigns", ANYBODY),
    get("api.all_incidents", ANYBODY),
    get("api.campaign", MEMBERS),
    get("api.campaign_incidents", ANYBODY, on=PUBLISHED),
    get("api.audit", ANYBODY, on=PUBLISHED),
    get("talk_api.update_list", ANYBODY, on=PUBLISHED),
    get("talk_api.talk", ANYBODY, on=PUBLISHED),
    get("talk_api.log", ANYBODY, on=PUBLISHED),
    get("api.pledge", LINK),
    call("api.refund_address", LINK, 200, sends={"address": PAYOUT}, changes=False),
    get("talk_api.pledges", Action.DASHBOARD, visitor=401, **OF_PUBLISHED),
    call("api.pledge_new", ANYBODY, on=OPEN_ONE, elsewhere={"ended": 400}, sends=PLEDGE_JSON),
    call("api.pledge_new", Action.OWN_MONEY, on=OPEN_ONE, elsewhere={"ended": 400},
         refused=404, sends={**PLEDGE_JSON, "own_money": True}),
    call("api.create", ACCOUNT, sends=DRAFT_JSON),
    call("api.publish", Action.PUBLISH, 200, on=DRAFT, elsewhere=dict.fromkeys(PUBLISHED, 200)),
    get("api.terms", ANYBODY, on=PUBLISHED),
    get("api.details", ANYBODY, on=PUBLISHED),
    ask("drafts_api.me", ACCOUNT),
    ask("drafts_api.mine", ACCOUNT),
    ask("drafts_api.checklist", Action.SEE_DRAFTS, **ONLY_DRAFT),
    call("drafts_api.change", Action.WRITE, 200, "PATCH", sends={"title": "Another title"}, **ONLY_DRAFT),
    call("drafts_api.change", Action.PAYOUT, 200, "PATCH", sends={"payout_address": REFUND_TO}, **ONLY_DRAFT),
    call("drafts_api.ask_review", Action.PUBLISH, 404, changes=False, **ONLY_DRAFT),  # this site has no review
    ask("projects_api.mine", ACCOUNT),
    call("projects_api.make", ACCOUNT, sends=PROJECT_JSON),
    get("projects_api.show", ANYBODY),
    call("projects_api.change", Action.PROJECT, 200, "PATCH", sends={"summary": "A drill."}),
    get("projects_api.members", ANYBODY),
    get("projects_api.proof", ANYBODY),
    call("projects_api.look", Action.PROJECT, 202),
    get("projects_api.deliverables", ANYBODY, on=PUBLISHED),
    call("projects_api.report", Action.ANSWER, 200, "PUT", on=PUBLISHED, elsewhere={"draft": 400},
         names={"number": "0"}, sends={"state": "there", "url": "https://example.org/there"}),
    call("projects_api.offer", ANYBODY, on=PUBLISHED, sends=HELP_JSON),
    ask("projects_api.offers", Action.SEE_DRAFTS),
    call("projects_api.answer", Action.ANSWER, 200, on=OPEN_ONE, elsewhere={"draft": 404, "ended": 404},
         sends={"state": "accepted", "answer": "Thank you."}),
    call("talk_api.declare", Action.OWN_MONEY, 200, "PUT", names={"number": "0"}, sends={"own": True}, **OF_PUBLISHED),
    call("talk_api.update_new", Action.UPDATE, sends=UPDATE_FORM, **OF_PUBLISHED),
    call("talk_api.update_edit", Action.UPDATE, 200, "PUT", sends=UPDATE_FORM, **OF_PUBLISHED),
    ask("talk_api.waiting", Action.ANSWER, **OF_PUBLISHED),
    call("talk_api.ask", ANYBODY, on=PUBLISHED, sends=TALK_FORM),
    call("talk_api.answer", Action.ANSWER, on=OPEN_ONE, refused=404, sends=TALK_FORM),
    call("talk_api.approve", Action.ANSWER, 200, on=OPEN_ONE, refused=404),
    call("talk_api.comment", Action.ANSWER, sends=TALK_FORM, **OF_PUBLISHED),
    call("talk_api.backer_comment", LINK, sends=TALK_FORM),
    get("talk_api.site_log", ANYBODY),
    ask("cancelling_api.show", Action.CANCEL, **OF_PUBLISHED),
    call("cancelling_api.ask", Action.CANCEL, on=OPEN_ONE, elsewhere={"ended": 400}, refused=404, sends=CANCEL_JSON),
    call("cancelling_api.bring", Action.CANCEL, 400, sends={"signed": "nonsense"}, changes=False, **OF_PUBLISHED),
    call("notices_api.follow", ANYBODY, 202, on=PUBLISHED, sends=MAIL_FORM),
    call("notices_api.pledge", LINK, 202, sends=MAIL_FORM),
    call("notices_api.pledge_forget", LINK, 204, "DELETE"),
    ask("notices_api.mail", ACCOUNT),
    call("notices_api.mail_set", ACCOUNT, 202, "PUT", sends=MAIL_FORM),
    call("notices_api.mail_forget", ACCOUNT, 204, "DELETE"),
    ask("notices_api.webhooks", ACCOUNT),
    call("notices_api.webhook_new", ACCOUNT, sends={"url": "https://example.org/hook", "events": ["campaign.decided"]}),
    ask("notices_api.webhook", HOLDER),
    call("notices_api.webhook_forget", HOLDER, 204, "DELETE"),
    call("notices_api.again", HOLDER, 202),
    # The test bench, which is not there
    post("bench.mine", OFF),
    post("bench.pay", OFF),
    post("bench.jump", OFF),
)  # fmt: skip
