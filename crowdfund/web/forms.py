"""Forms: names and labels only. What a value means is decided where it is used, so that the API agrees."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flask_wtf import FlaskForm
from wtforms import (
    Field,
    FileField,
    HiddenField,
    PasswordField,
    RadioField,
    SelectField,
    SelectMultipleField,
    StringField,
    TextAreaField,
)
from wtforms.fields.choices import SelectChoice
from wtforms.widgets import CheckboxInput, ListWidget

from crowdfund.accounts.tokens import SCOPES
from crowdfund.errors import Problems, UserError
from crowdfund.notices.kinds import HOOKABLE
from crowdfund.projects.models import KINDS, Project
from crowdfund.projects.writing import ProjectDraft
from crowdfund.wallet.amounts import parse_amount
from crowdfund.web.i18n import later, said

UNITS = ("sat", "BTC")
OWN = ("Yes", "No")
OWN_CHOICES = [SelectChoice("Yes", later("Yes")), SelectChoice("No", later("No"))]
TECHNOLOGY = [
    SelectChoice("0", "not given"),
    SelectChoice("1", "OTRL-1: an idea"),
    SelectChoice("2", "OTRL-2: a concept"),
    SelectChoice("3", "OTRL-3: a proof of concept"),
    SelectChoice("4", "OTRL-4: a prototype"),
    SelectChoice("5", "OTRL-5: tried where it will be used"),
    SelectChoice("6", "OTRL-6: in use, and made more than once"),
]
DOCUMENTATION = [
    SelectChoice("0", "not given"),
    SelectChoice("1", "ODRL-1: begun"),
    SelectChoice("2", "ODRL-2: published, not complete"),
    SelectChoice("3", "ODRL-3: complete enough to build it"),
    SelectChoice("4", "ODRL-4: built by others from it"),
]


PROJECT_TEXTS = ("name", "kind", "repository_url", "site_url", "license", "summary", "forks_of", "bom_url")
LEVELS = ("technology_readiness", "documentation_readiness")


class AccountForm(FlaskForm):
    """Signing up and logging in."""

    name = StringField(later("Name"))
    password = PasswordField(later("Password"))


class PasskeyForm(FlaskForm):
    """What the browser brings after the script has asked it for a passkey."""

    name = StringField(later("Name"), id="passkey-account")
    passkey_name = StringField(later("Name of the passkey"))
    credential = HiddenField()


class CodeForm(FlaskForm):
    """A code that is typed."""

    code = StringField("Code")


class RecoveryForm(FlaskForm):
    """Coming in although something was lost."""

    name = StringField("Name")
    recovery_code = StringField("Recovery code")
    password = PasswordField("Password")
    app_code = StringField("Code of your authenticator app")


class ConfirmForm(FlaskForm):
    """Showing a way in once more."""

    password = PasswordField("Password")
    app_code = StringField("Code of your authenticator app")


class PasswordForm(FlaskForm):
    """A new password."""

    password = PasswordField("New password")


class NameForm(FlaskForm):
    """Another name."""

    name = StringField("New name")


class DraftForm(FlaskForm):
    """A campaign before it is published."""

    title = StringField("Title")
    summary = StringField("In one line")
    story = TextAreaField("The story")
    goal = StringField("Goal")
    goal_unit = RadioField("Unit", choices=UNITS, default="sat", validate_choice=False)
    cap = StringField("Accept at most")
    cap_unit = RadioField("Unit of the most", choices=UNITS, default="sat", validate_choice=False)
    deadline = StringField("Deadline")
    payout_address = StringField("Payout address")
    project_url = StringField("Project link")
    license = StringField("Licence")


class WizardForm(DraftForm):
    """The same, step by step, with what the short form has no room for."""

    about = TextAreaField("Who we are")
    risks = TextAreaField("What could go wrong")


class ProjectForm(FlaskForm):
    """A project."""

    name = StringField("Name of the project")
    summary = TextAreaField("What it is")
    kind = SelectField("Kind", choices=KINDS, validate_choice=False)
    repository_url = StringField("Repository")
    site_url = StringField("Site")
    license = StringField("Licence")
    forks_of = StringField("Forked from")
    technology_readiness = SelectField("Technology readiness", choices=TECHNOLOGY, validate_choice=False)
    documentation_readiness = SelectField("Documentation readiness", choices=DOCUMENTATION, validate_choice=False)
    bom_url = StringField("Bill of materials")


class ImportForm(FlaskForm):
    """Where to look for what a project says of itself."""

    address = StringField("Address of the repository or site")
    file = FileField("Or a file")


class HelpForm(FlaskForm):
    """An offer of help that is not money."""

    need = RadioField(later("What you can help with"), choices=[], validate_choice=False)
    amount = StringField(later("How much of it"), default="1")
    name = StringField(later("Your name"))
    contact = StringField(later("How the project can reach you"))
    message = TextAreaField(later("What you can do"))


class PictureForm(FlaskForm):
    """A picture of a draft."""

    picture = FileField("Picture")
    alt = StringField("What it shows")


class AltForm(FlaskForm):
    """Other words for a picture that is there."""

    alt = StringField("What it shows")


class PledgeForm(FlaskForm):
    """A pledge before it has an address."""

    amount = StringField(later("Amount"))
    amount_unit = RadioField(later("Unit"), choices=UNITS, default="sat", validate_choice=False)
    refund_address = StringField(later("Refund address"))
    name = StringField(later("Your name"))
    message = StringField(later("A message"))
    reward = RadioField(later("Reward"), choices=[], validate_choice=False)
    own = RadioField(later("Is this your own money?"), choices=OWN_CHOICES, validate_choice=False)


class EmailForm(FlaskForm):
    """Where to send mails."""

    email = StringField(later("E-mail address"))


class TokenForm(FlaskForm):
    """A token for a program."""

    token_name = StringField("Name of the program")
    scopes = SelectMultipleField(
        "What it may do",
        choices=[SelectChoice(scope, f"{scope}: {words}") for scope, words in SCOPES.items()],
        default=["read", "write"],
        validate_choice=False,
        widget=ListWidget(prefix_label=False),
        option_widget=CheckboxInput(),
    )
    days = StringField("How many days it is good for")


class WebhookForm(FlaskForm):
    """A program that is told."""

    url = StringField("Address of your program")
    events = SelectMultipleField(
        "Events",
        choices=[SelectChoice(kind.value, f"{kind.value}: {words}") for kind, words in HOOKABLE.items()],
        default=[kind.value for kind in HOOKABLE],
        validate_choice=False,
        widget=ListWidget(prefix_label=False),
        option_widget=CheckboxInput(),
    )


def read_amount(text: str | None, unit: str | None, field: str) -> int:
    """An amount field with its unit, in satoshi. Raises UserError."""
    if unit not in UNITS:
        raise UserError("Choose sat or BTC.", field)
    return parse_amount(text or "", unit, field)


def read_cap(text: str | None, unit: str | None) -> int:
    """The most that is accepted, in satoshi; 0, for any sum, where nothing was written. Raises UserError."""
    return read_amount(text, unit, "cap") if (text or "").strip() else 0


def read_deadline(text: str | None) -> datetime:
    """`2026-12-01T18:00` as browsers send it, taken as UTC; or RFC 3339 with an offset. Raises UserError."""
    try:
        moment = datetime.fromisoformat((text or "").strip())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:  # the latter: an offset that leads out of the years 1 to 9999
        raise UserError("Write the deadline as a date and a time (UTC): 2026-12-01 18:00.", "deadline") from error


def read_project(form: ProjectForm) -> ProjectDraft:
    """The form as a project; what is no level becomes one that no check lets pass."""
    values: dict[str, Any] = {name: (form[name].data or "").strip() for name in PROJECT_TEXTS}
    for name in LEVELS:
        text = form[name].data or "0"
        values[name] = int(text) if re.fullmatch("[0-9]", text) else -1
    return ProjectDraft(**values)


def project_data(project: Project) -> dict[str, str]:
    """A project as the form shows it."""
    return {name: str(getattr(project, name)) for name in (*PROJECT_TEXTS, *LEVELS)}


def show_problems(form: FlaskForm, error: UserError, unreadable: Mapping[str, str] | None = None) -> None:
    """Put each sentence at its field; what belongs to none goes on top.

    `unreadable` has the sentences for fields that could not even be read; they stand instead of what was said of the
    values put in their place.
    """
    by_field: Mapping[str, str] = error.by_field if isinstance(error, Problems) else {error.field or "": error.sentence}
    for name, english in {**by_field, **(unreadable or {})}.items():
        field: Field | None = form._fields.get(name)
        sentence = said(english)
        if field is None:
            form.form_errors.append(sentence)
        else:
            field.errors = [*field.errors, sentence]
