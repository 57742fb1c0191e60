"""Forms: names and labels only. What a value means is decided where it is used, so that the API agrees."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from flask_wtf import FlaskForm
from wtforms import Field, HiddenField, PasswordField, RadioField, StringField, TextAreaField

from crowdfund.errors import Problems, UserError
from crowdfund.wallet.amounts import parse_amount

UNITS = ("sat", "BTC")


class AccountForm(FlaskForm):
    """Signing up and logging in."""

    name = StringField("Name")
    password = PasswordField("Password")


class PasskeyForm(FlaskForm):
    """What the browser brings after the script has asked it for a passkey."""

    name = StringField("Name", id="passkey-account")
    passkey_name = StringField("Name of the passkey")
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


class PledgeForm(FlaskForm):
    """A pledge before it has an address."""

    amount = StringField("Amount")
    amount_unit = RadioField("Unit", choices=UNITS, default="sat", validate_choice=False)
    refund_address = StringField("Refund address")
    name = StringField("Your name")
    message = StringField("A message")


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


def show_problems(form: FlaskForm, error: UserError, unreadable: Mapping[str, str] | None = None) -> None:
    """Put each sentence at its field; what belongs to none goes on top.

    `unreadable` has the sentences for fields that could not even be read; they stand instead of what was said of the
    values put in their place.
    """
    by_field: Mapping[str, str] = error.by_field if isinstance(error, Problems) else {error.field or "": error.sentence}
    for name, sentence in {**by_field, **(unreadable or {})}.items():
        field: Field | None = form._fields.get(name)
        if field is None:
            form.form_errors.append(sentence)
        else:
            field.errors = [*field.errors, sentence]
