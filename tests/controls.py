"""What a claim's controls must be like, and claims made for tests."""

import re

from deeplim.claims import Claim, Control, Figure, Number, Outcome, Series

LINE = Series.of("line", "predicted", [0, 1], [0, 1])
FIGURE = Figure("x", "y", (LINE, Series.of("points", "measured", [0, 1], [0.1, 0.9], [0.05, 0.05])))
FAR = Control("another law", 100.0)


def made_number(predicted: float, measured: float, uncertainty: float = 0.1, **others) -> Number:
    others.setdefault("controls", (FAR,))
    return Number("x", predicted, measured, uncertainty=uncertainty, **others)


def made_claim(*numbers: Number, name: str = "made") -> Claim:
    return Claim(name, "A claim made for a test.", "this test", lambda seed: Outcome(numbers, "nothing", FIGURE))


def complaints(number: Number) -> list[str]:
    """What keeps a number's controls from saying anything.

    A law that is told apart from the right one by less than two tolerances is refuted by luck: what agrees with the one
    may agree with the other. One that is very far off is refuted by anything: beside it there must be a near one, the
    same law at half or twice its strength, or one no further off than three times the number's own size.
    """
    found = []
    for control in number.controls:
        if not re.search(r"[a-z]{4,}", control.name):
            found.append(f"{control.name!r} does not say in words which law it is")
        if abs(control.predicted - number.predicted) <= 2 * number.tolerance:
            found.append(f"{control.name!r} is within two tolerances of {number.name}")
    if len({control.name for control in number.controls}) < len(number.controls):
        found.append("two controls have one name")
    if not any(_near(number, control) for control in number.controls):
        found.append(f"no control is near {number.name}")
    return found


def _near(number: Number, control: Control) -> bool:
    size = 3 * abs(number.predicted) or 1.0
    return abs(control.predicted - number.predicted) <= size or re.match(r"(half|twice)\b", control.name) is not None
