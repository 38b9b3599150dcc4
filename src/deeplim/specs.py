"""The base of every specification: frozen, validated, JSON both ways, one sentence for whatever is wrong."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from deeplim.checks import brief as brief
from deeplim.checks import check_flag, check_kind
from deeplim.checks import kind_of as kind_of
from deeplim.errors import SpecError

_WRITTEN = "what to_json writes"

_TRUSTED: ContextVar[bool] = ContextVar("trusted", default=True)


def trusted() -> bool:
    """Whether specifications are made by the user's own program or words, not read from a text that others wrote."""
    return _TRUSTED.get()


@contextmanager
def reading(*, trust: bool) -> Iterator[None]:
    """Make specifications of a text: what it names is imported only where it is trusted."""
    before = _TRUSTED.set(trust)
    try:
        yield
    finally:
        _TRUSTED.reset(before)


def one_sentence(error: ValidationError, model: type[BaseModel] | None = None, whole: str = _WRITTEN) -> str:
    """Return the most telling problem of a validation error as one sentence: what came and what is allowed.

    What is allowed is the description of the model's field; ``whole`` says it where the problem is not in one
    field.
    """
    first = min(error.errors(), key=lambda problem: _rank(problem["type"], problem["loc"]))
    context, value = first.get("ctx", {}), brief(first["input"])
    if isinstance(context.get("error"), SpecError):  # a specification inside this one: it has said so itself
        return str(context["error"])
    if first["type"] == "json_invalid":
        return f"the text {value} is not JSON ({context['error']}); give {whole}."
    name = str(first["loc"][0]) if first["loc"] else ""
    fields = {} if model is None else model.model_fields
    if first["type"] == "extra_forbidden" and model is not None:
        known = [field for field in fields if field != "kind"]
        unknown = name if name.isidentifier() and len(name) < 60 else brief(name)
        return f"{model.__name__} has no field {unknown}; it has {', '.join(known) or 'none'}."
    if name not in fields:
        came = f"the kind {brief(context['tag'])}" if "tag" in context else value
        return f"{came} was given; give {whole}."
    if first["type"] == "missing":
        return f"{name} is missing; give {fields[name].description}."
    return f"{name} = {value} is not allowed; it must be {fields[name].description or context['expected']}."


def _rank(problem: str, place: tuple[int | str, ...]) -> int:
    """Another kind explains the unknown fields it came with, and an unknown field explains a missing one."""
    return 0 if place == ("kind",) else 1 if problem == "extra_forbidden" else 2


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun, in the plural unless it is one.

    >>> counted(1, "input"), counted(1200, "input"), counted(2, "batch", "batches")
    ('1 input', '1,200 inputs', '2 batches')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def number(value: float) -> str:
    """Return a number as short text that reads back to the same number: 1, 0.2, 1e-05."""
    return str(float(value)).removesuffix(".0")


class Spec(BaseModel):
    """Base of every specification: frozen, no unknown fields, no NaN, errors in one sentence."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, /, **fields: object) -> None:
        for name in type(self).model_fields:
            # To Python they are the numbers 1 and 0, which is never what was meant.
            if isinstance(fields.get(name), bool | np.bool_):
                allowed = type(self).model_fields[name].description or "text"
                raise SpecError(f"{name} = {fields[name]} is not allowed; it must be {allowed}.")
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise SpecError(one_sentence(error, type(self))) from None

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise SpecError(self._frozen(name))

    def __delattr__(self, name: str) -> NoReturn:
        raise SpecError(self._frozen(name))

    def _frozen(self, name: str) -> str:
        kind = type(self).__name__
        return f"{name} of this {kind} cannot be changed, it is frozen; make another with model_copy(update=...)."

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return the same specification with some fields changed, checked like a new one."""
        changed = check_kind(
            "update",
            {} if update is None else update,
            Mapping,
            "give new values by the names of fields",
            error=SpecError,
        )
        for name in changed:
            check_kind("a field's name", name, str, "give text", error=SpecError)
        return type(self)(**{**dict(self), **changed})

    def to_json(self) -> str:
        """Return the specification as JSON; ``from_json`` reads it back."""
        return self.model_dump_json()

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """Return the specification that ``to_json`` wrote, as pydantic reads it; functions as in ``from_json``."""
        try:
            with reading(trust=False):
                return super().model_validate_json(json_data, **options)
        except ValidationError as error:
            raise SpecError(one_sentence(error, cls)) from None

    @classmethod
    def from_json(cls, text: str, *, trust: bool = False) -> Self:
        """Return the specification that ``to_json`` wrote; SpecError if the text does not describe one.

        A text may name functions of deeplim, NumPy's and SciPy's universal functions, and those that the program has
        used itself. ``trust=True`` lets it name any other, whose module is then imported, and the function called.
        """
        try:
            with reading(trust=check_flag("trust", trust)):
                return super().model_validate_json(text)
        except ValidationError as error:
            raise SpecError(one_sentence(error, cls)) from None
