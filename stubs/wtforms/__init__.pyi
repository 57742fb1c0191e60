from collections.abc import Sequence
from typing import Any

from wtforms.fields.choices import SelectChoice
from wtforms.widgets import CheckboxInput, ListWidget

class Field:
    data: str | None
    errors: list[str] | tuple[str, ...]
    def __init__(
        self,
        label: str = ...,
        *,
        choices: Sequence[str | SelectChoice] = ...,
        validate_choice: bool = ...,
        default: str = ...,
        id: str = ...,
    ) -> None: ...

class HiddenField(Field): ...
class StringField(Field): ...
class TextAreaField(Field): ...
class FileField(Field): ...
class PasswordField(Field): ...
class RadioField(Field): ...

class SelectMultipleField(Field):
    data: Any
    def __init__(
        self,
        label: str,
        *,
        choices: Sequence[SelectChoice],
        default: Sequence[str],
        validate_choice: bool,
        widget: ListWidget,
        option_widget: CheckboxInput,
    ) -> None: ...

class SelectField(Field): ...
