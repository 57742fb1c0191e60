from collections.abc import Sequence

class Field:
    data: str | None
    errors: list[str] | tuple[str, ...]
    def __init__(
        self,
        label: str = ...,
        *,
        choices: Sequence[str] = ...,
        validate_choice: bool = ...,
        default: str = ...,
        id: str = ...,
    ) -> None: ...

class HiddenField(Field): ...
class StringField(Field): ...
class TextAreaField(Field): ...
class PasswordField(Field): ...
class RadioField(Field): ...
