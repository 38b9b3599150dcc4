"""A claim could fail: no number is without a control, and a control has no tolerance of its own."""

from dataclasses import fields, replace

import numpy as np
import pytest
from controls import FAR, FIGURE, complaints, made_claim, made_number

from deeplim.claims import Control, Number, Outcome, Series
from deeplim.claims.number import Allowance, number_of
from deeplim.errors import InputError
from deeplim.reporting.gallery import draw, gallery, number_row
from deeplim.statistics import Estimate
from deeplim.tables import text_table


def test_chance_is_given_five_standard_errors_and_finite_size_its_allowance():
    number = made_number(predicted=1.0, measured=1.0, allowance=0.2, reason="size")
    for measured, verdict in (
        (1.49, "holds"),
        (0.51, "holds"),
        (1.69, "holds within the stated finite-size allowance"),
        (0.31, "holds within the stated finite-size allowance"),
        (1.71, "fails"),
        (0.29, "fails"),
    ):
        assert replace(number, measured=measured).verdict == verdict


@pytest.mark.parametrize("field", ["measured", "predicted", "uncertainty", "allowance"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_not_finite_fails_and_refutes_nothing(field: str, value: float):
    number = replace(made_number(1.0, 1.0, reason="size"), **{field: value})
    assert number.verdict == "fails"
    if field != "predicted":
        assert not number.refutes(FAR)
    assert not made_number(1.0, 1.0).refutes(Control("no law", value))


def test_no_number_and_no_claim_is_made_without_a_control():
    with pytest.raises(TypeError, match="controls"):
        Number("x", 1.0, 1.0, uncertainty=0.1)
    with pytest.raises(InputError, match="x refutes nothing; give a wrong prediction"):
        made_number(1.0, 1.0, controls=())
    with pytest.raises(InputError, match="refutes nothing"):
        number_of("x", 1.0, Estimate(1.0, 0.1), refutes={})
    with pytest.raises(InputError, match="checked by no number"):
        Outcome((), "nothing", FIGURE)


def test_a_control_shares_the_measurement_and_the_tolerance_of_its_number():
    assert {field.name for field in fields(Control)} == {"name", "predicted"}
    number = made_number(1.0, 1.3, allowance=0.2, reason="size")
    assert number.tolerance == pytest.approx(0.7)
    for side in (-1, 1):
        beside, within = (Control("another law", 1.3 + side * at) for at in (0.701, 0.699))
        assert number.refutes(beside)
        assert not number.refutes(within)
    # Whatever prediction the tolerance lets through, it would let through as a control.
    for wrong in np.linspace(0, 3, 61):
        passes = replace(number, predicted=float(wrong)).agrees != "fails"
        assert number.refutes(Control("another law", float(wrong))) != passes


def test_a_number_fails_whose_control_is_not_refuted():
    right, near = made_number(1.0, 1.0), Control("half the drift", 1.4)
    assert right.verdict == "holds"
    number = replace(right, controls=(FAR, near))
    assert (number.agrees, number.verdict) == ("holds", "fails")
    assert replace(right, controls=(Control("the same law", 1.0),)).verdict == "fails"
    result = made_claim(number).run(0)
    assert result.fails
    assert result.refuted == ["another law"]


def test_an_allowance_needs_a_reason_and_a_number_a_tolerance():
    with pytest.raises(InputError, match="no reason"):
        made_number(1.0, 1.0, allowance=0.1)
    with pytest.raises(InputError, match="what rounding may do"):
        made_number(1.0, 1.0, uncertainty=0.0)
    number = number_of("x", 1.0, Estimate(1.0, 0.1), refutes={"none": 9.0}, allowance=Allowance(0.2, "size"))
    assert (number.allowance, number.reason) == (0.2, "size")


def test_the_worst_number_decides():
    good, bad = made_number(1, 1), made_number(1, 9)
    within = made_number(1, 2, allowance=1, reason="size")
    assert Outcome((good,), "", FIGURE).verdict == "holds"
    assert Outcome((good, within), "", FIGURE).verdict == "holds within the stated finite-size allowance"
    assert Outcome((bad, good, within), "", FIGURE).verdict == "fails"


@pytest.mark.parametrize(
    ("control", "complaint"),
    [
        (Control("half the drift", 0.5), None),
        (Control("half the drift", 7.0), None),
        (Control("no drift", 0.0), None),
        (Control("ρ = 3", 3.0), "does not say in words"),
        (Control("half the drift", 1.15), "within two tolerances"),
        (Control("half the drift", 1.1), "within two tolerances"),
        (Control("a law of another planet", 1e6), "no control is near"),
    ],
)
def test_a_control_that_says_nothing_is_found(control: Control, complaint: str | None):
    # The last is refuted by a huge margin, and so it would be by almost any measurement: it is no control.
    number = made_number(1.0, 1.02, uncertainty=0.02, controls=(control,))
    found = complaints(number)
    assert (found == []) if complaint is None else (len(found) == 1 and complaint in found[0])
    if control.predicted == 1e6:
        assert number.verdict == "holds"
        assert number.margin(control) > 1e6


def test_near_and_far_controls_and_two_of_one_name():
    near, far = Control("half the drift", 0.5), Control("a law of another planet", 1e6)
    assert complaints(made_number(1.0, 1.0, uncertainty=0.02, controls=(near, far))) == []
    assert complaints(made_number(1.0, 1.0, uncertainty=0.02, controls=(near, near))) == ["two controls have one name"]
    assert complaints(made_number(0.0, 0.0, uncertainty=0.02, controls=(Control("alive", 0.5),))) == []


def test_what_is_refuted_stands_beside_the_number_on_the_page_and_in_the_data():
    near, far = Control("half the drift", 1.4), Control("no drift & no noise", 3.0)
    claim = made_claim(made_number(1.0, 1.0, controls=(near, far)))
    made = gallery([claim.run(0)])
    assert "Refutes half the drift: 1.4 <strong" in made.html
    assert "not refuted (0.8\u00a0×)" in made.html
    assert "no drift &amp; no noise: 3 (4.0\u00a0×)." in made.html
    assert made.data["claims"][0]["refutes"] == ["no drift & no noise"]
    [number] = made.data["claims"][0]["numbers"]
    assert [control["verdict"] for control in number["refutes"]] == ["not refuted", "refuted"]
    assert number["refutes"][0]["apart_in_tolerances"] == pytest.approx(0.8)
    assert (number["tolerance"], number["verdict"]) == (0.5, "fails")
    assert number_row(claim.run(0).outcome.numbers[0])["verdict"] == "holds"


def test_a_figure_says_refuted_of_a_claim_that_holds_alone():
    line = Series.of("half the drift", "refuted", [0, 1], [0, 0.5])
    figure = replace(FIGURE, series=(*FIGURE.series, line))
    for measured, told in ((1.0, "refuted: half the drift"), (9.0, "to refute: half the drift")):
        outcome = Outcome((made_number(1.0, measured),), "nothing", figure)
        spec = draw(replace(made_claim(), check=lambda seed, outcome=outcome: outcome).run(0)).to_dict()
        assert spec["layer"][0]["encoding"]["color"]["scale"]["domain"] == ["line", "points", told]


def test_columns_are_even_where_letters_have_accents():
    lines = text_table(["law", "ρ"], [["half of ν̂", "0.1"], ["no drift", "0.2"]]).splitlines()
    assert [line.replace("\u0302", "").index("0") for line in lines[1:]] == [11, 11]
