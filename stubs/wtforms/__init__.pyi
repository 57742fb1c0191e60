from collections.abc import Sequence

from wtforms.fields.choices import SelectChoice

class Field:
    data: str | None
    errors: list[str] | tuple[str, ...]
    def __init__(
        self,
        label: str,
        *,
        choices: Sequence[str | SelectChoice] = ...,
        validate_choice: bool = ...,
        default: str = ...,
    ) -> None: ...

class StringField(Field): ...
class TextAreaField(Field): ...
class PasswordField(Field): ...
class RadioField(Field): ...
class SelectField(Field): ...
