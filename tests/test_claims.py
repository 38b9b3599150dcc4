import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from deeplim import claims
from deeplim.claims import ALL, Claim, Figure, Number, Outcome, Series, judge, named
from deeplim.claims.claim import FAILS, HOLDS, WITHIN, Result, histogram, mean_of, number_of, std_of, variance_of
from deeplim.errors import InputError
from deeplim.reporting.gallery import draw, gallery
from deeplim.statistics import Estimate

QUICK = [claim for claim in ALL if claim.quick]
LINE = Series.of("line", "predicted", [0, 1], [0, 1])
FIGURE = Figure("x", "y", (LINE, Series.of("points", "measured", [0, 1], [0.1, 0.9], [0.05, 0.05])))


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    return {claim.name: claim.run(0) for claim in QUICK}


def made_claim(*numbers: Number, name: str = "made") -> Claim:
    return Claim(name, "A claim made for a test.", "this test", lambda seed: Outcome(numbers, "nothing", FIGURE))


def test_names_are_unique_words():
    names = [claim.name for claim in ALL]
    assert len(set(names)) == len(names) >= 25
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in names)


@pytest.mark.parametrize("claim", ALL, ids=lambda claim: claim.name)
def test_every_claim_says_what_and_whose(claim: Claim):
    assert claim.statement.endswith(".")
    assert 30 < len(claim.statement) <= 120
    assert len(claim.source) > 10
    assert not claim.source.endswith(".")


@pytest.mark.parametrize("name", [claim.name for claim in QUICK])
def test_quick_claims_hold(name: str, results: dict[str, Result]):
    # Each number fails by chance once in two million times (5 sigma, two-sided), on this fixed seed.
    found = results[name]
    assert not found.fails, found.to_dict()["numbers"]
    assert found.outcome.simulated.endswith(".")
    for number in found.outcome.numbers:
        assert number.uncertainty > 0 or number.allowance > 0, "an exact measurement states what rounding may do"


@pytest.mark.slow
@pytest.mark.parametrize("claim", [claim for claim in ALL if not claim.quick], ids=lambda claim: claim.name)
def test_every_other_claim_holds(claim: Claim):
    # As above; a minute for all of them.
    found = claim.run(0)
    assert not found.fails, found.to_dict()["numbers"]


def test_some_claims_have_controls_which_a_wrong_formula_would_fail(results: dict[str, Result]):
    controls = [number for found in results.values() for number in found.outcome.numbers if number.refuted]
    assert len(controls) >= 3
    for number in controls:
        assert judge(replace(number, refuted=False)) == FAILS
    plus = next(number for number in results["sign-is-minus"].outcome.numbers if number.refuted)
    assert plus.predicted == pytest.approx(0.8 + 0.6 * np.arccos(0.6))


def test_a_wrong_prediction_is_judged_to_fail(results: dict[str, Result]):
    for found in results.values():
        for number in found.outcome.numbers:
            if not number.refuted:
                off = 6 * number.uncertainty + 1.01 * number.allowance
                assert judge(replace(number, predicted=number.measured + off)) == FAILS


def test_the_judge_gives_chance_five_standard_errors_and_finite_size_its_allowance():
    number = Number("x", predicted=1.0, measured=1.0, uncertainty=0.1, allowance=0.2, reason="size")
    for measured, verdict in (
        (1.49, HOLDS),
        (0.51, HOLDS),
        (1.69, WITHIN),
        (0.31, WITHIN),
        (1.71, FAILS),
        (0.29, FAILS),
    ):
        assert judge(replace(number, measured=measured)) == verdict
    for measured, verdict in ((1.69, FAILS), (1.71, HOLDS), (0.29, HOLDS)):
        assert judge(replace(number, measured=measured, refuted=True)) == verdict


@pytest.mark.parametrize("field", ["measured", "predicted", "uncertainty", "allowance"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_not_finite_fails(field: str, value: float):
    for refuted in (False, True):
        assert judge(replace(Number("x", 1.0, 1.0, 0.1, reason="size", refuted=refuted), **{field: value})) == FAILS


def test_an_allowance_needs_a_reason():
    with pytest.raises(InputError, match="no reason"):
        Number("x", 1.0, 1.0, allowance=0.1)


def test_the_worst_number_decides():
    good, within, bad = Number("x", 1, 1, 0.1), Number("x", 1, 2, 0.1, 1, "size"), Number("x", 1, 9, 0.1)
    assert Outcome((good,), "", FIGURE).verdict == HOLDS
    assert Outcome((good, within), "", FIGURE).verdict == WITHIN
    assert Outcome((bad, good, within), "", FIGURE).verdict == FAILS


def test_estimates_are_those_of_the_textbook():
    values = np.array([1.0, 2.0, 4.0, 9.0])
    mean = mean_of(values)
    assert (mean.value, mean.error) == pytest.approx((4.0, values.std(ddof=1) / 2))
    assert std_of(values).value == pytest.approx(values.std(ddof=1))
    assert variance_of(values).value == pytest.approx(values.var(ddof=1))
    with pytest.raises(InputError, match="leave lost networks out"):
        mean_of(np.array([1.0, np.nan]))
    columns = histogram(np.arange(1000.0), columns=10)
    assert sum(columns.y) * (columns.x[1] - columns.x[0]) == pytest.approx(0.996)
    assert number_of("x", 1, Estimate(2.0, 0.5)).verdict == HOLDS


def test_a_seed_decides_and_claims_share_none():
    seeds = []
    for name in ("first", "second"):
        claim = replace(made_claim(name=name), check=lambda seed: seeds.append(seed) or Outcome((), "", FIGURE))
        claim.run(7)
        claim.run(7)
    assert seeds[0] == seeds[1] != seeds[2] == seeds[3]
    claim = named(["dead-layer"])[0]
    assert claim.run(3).to_dict() == claim.run(3).to_dict()
    assert claim.run(3).to_dict()["numbers"] != claim.run(4).to_dict()["numbers"]


def test_names_are_found_once_and_bad_ones_name_close_matches():
    assert [claim.name for claim in named(["gamma-law", "resnet-ode", "gamma-law"])] == ["gamma-law", "resnet-ode"]
    assert named([]) == list(ALL)
    with pytest.raises(InputError, match="'resnet-od'; did you mean resnet-ode"):
        named(["resnet-od"])
    with pytest.raises(InputError, match="reproduce --list` lists them"):
        named(["qqqq"])


class _Fetched(HTMLParser):
    """Collects what a page would load, and its ids and the links within it."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "link", "img", "iframe") or "src" in given:
            self.loaded.append(tag)
        if tag == "a":
            self.links.append(given["href"] or "")
        if "id" in given:
            self.ids.append(given["id"] or "")


def test_the_gallery_is_one_page_that_fetches_nothing(results: dict[str, Result], tmp_path: Path):
    made = gallery(list(results.values()), command="deeplim reproduce <all>")
    page = _Fetched()
    page.feed(made.html)
    assert page.loaded == []
    assert "url(http" not in made.html
    assert "@import" not in made.html
    assert len(set(page.ids)) == len(page.ids), "no two figures share an id"
    assert {link.removeprefix("#") for link in page.links} == set(results) <= set(page.ids)
    assert made.html.count("<svg") == len(results)
    assert "deeplim reproduce &lt;all&gt;" in made.html
    assert "prefers-color-scheme: dark" in made.html
    paths = made.save(tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["index.html", "claims.json"]

    def refuse(word: str):
        raise ValueError(word)

    data = json.loads(paths[1].read_text(), parse_constant=refuse)
    assert [claim["name"] for claim in data["claims"]] == list(results)
    assert data["fails"] == []


@pytest.mark.parametrize("name", [claim.name for claim in QUICK])
def test_every_figure_has_axes_points_and_what_was_simulated(name: str, results: dict[str, Result]):
    found = results[name]
    figure = found.outcome.figure
    assert figure.x
    assert figure.y
    assert {"measured", "predicted"} <= {series.role for series in figure.series}
    for series in figure.series:
        assert np.isfinite([*series.x, *series.y, *(series.error or ())]).all()
    spec = draw(found).to_dict()
    titles = {layer["encoding"][axis]["title"] for layer in spec["layer"] for axis in "xy"}
    assert titles == {figure.x, figure.y}
    assert found.outcome.simulated[:30] in " ".join(spec["title"]["subtitle"])


def test_a_claim_that_fails_is_shown_to_fail():
    wrong = made_claim(Number("x", predicted=1.0, measured=9.0, uncertainty=0.1))
    lost = made_claim(Number("y", predicted=1.0, measured=np.nan, uncertainty=0.1), name="lost")
    fine = made_claim(Number("z", predicted=1.0, measured=1.0, uncertainty=0.1), name="fine")
    made = gallery([wrong.run(0), lost.run(0), fine.run(0)])
    assert "3 claims checked, 2 fail" in made.html
    assert made.html.count('class="claim problem"') == 2
    assert made.data["fails"] == ["made", "lost"]
    assert json.loads(made.to_json())["claims"][1]["numbers"][0]["measured"] is None


def test_a_gallery_of_nothing_and_a_folder_that_cannot_be_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="at least one checked claim"):
        gallery([])
    made = gallery([made_claim(Number("z", 1.0, 1.0, 0.1)).run(0)])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="could not be made"):
        made.save(tmp_path / "file" / "folder")
    with pytest.raises(InputError, match="empty"):
        made.save("")


def test_the_registry_is_what_is_documented():
    assert claims.ALL is ALL
    assert all(isinstance(claim, Claim) for claim in ALL)
