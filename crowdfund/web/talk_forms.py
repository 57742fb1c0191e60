"""The forms of what people say: names and labels only."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import StringField, TextAreaField

from crowdfund.web.i18n import later


class UpdateForm(FlaskForm):
    """An update, new or edited."""

    title = StringField("Title")
    text = TextAreaField("What there is to tell")


class QuestionForm(FlaskForm):
    """A visitor's question."""

    name = StringField(later("Your name"))
    text = TextAreaField(later("Your question"))


class AnswerForm(FlaskForm):
    """An answer by the campaign's side."""

    text = TextAreaField(later("Your answer"))


class CommentForm(FlaskForm):
    """A comment; a creator's stands under the account's name."""

    name = StringField(later("Your name"))
    text = TextAreaField(later("Your comment"))


class ReasonForm(FlaskForm):
    """Why something is hidden, or shown again."""

    reason = StringField("The reason, for everyone to read")
