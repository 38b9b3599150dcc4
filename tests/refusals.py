"""How the tests look at a refusal: the right error, and one sentence in the library's own words."""

import re
from collections.abc import Callable
from functools import partial

import pytest

from deeplim.errors import DeeplimError, InputError, SpecError

_OF_PYDANTIC = ("nput should", "validation error", "pydantic", "Value error", "https://")


def refusal(make: Callable[[], object], kind: type[DeeplimError] = InputError) -> str:
    """Return the message of the error that a call raises, which must be one sentence."""
    with pytest.raises(kind) as caught:
        make()
    message = str(caught.value)
    assert re.fullmatch(r"[^\n]{20,400}[^.]\.", message), message
    assert not any(words in message for words in _OF_PYDANTIC), message
    return message


refused_as_spec = partial(refusal, kind=SpecError)
refused_as_input = partial(refusal, kind=InputError)
