import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from controls import FAR, FIGURE, complaints, made_claim, made_number

from deeplim import claims
from deeplim.claims import ALL, Claim, Control, Number, Outcome, named
from deeplim.claims.claim import Result, density_line, histogram
from deeplim.claims.measures import difference, extrapolated, mean_of, next_order, scaled, std_of, variance_of
from deeplim.claims.number import number_of
from deeplim.errors import InputError
from deeplim.limits.laws import pair_density, shaped_relu_drift
from deeplim.reporting.gallery import draw, gallery
from deeplim.statistics import Estimate

QUICK = [claim for claim in ALL if claim.quick]


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    return {claim.name: claim.run(0) for claim in QUICK}


def check(found: Result) -> None:
    """The claim holds, refutes what it says it refutes, and its controls are other laws that could have been right."""
    assert not found.fails, found.to_dict()["numbers"]
    assert found.outcome.simulated.endswith(".")
    assert [told for number in found.outcome.numbers for told in complaints(number)] == []
    figure = found.outcome.figure
    assert figure.x
    assert figure.y
    assert {series.role for series in figure.series} == {"measured", "predicted", "refuted"}
    for series in figure.series:
        assert np.isfinite([*series.x, *series.y, *(series.error or ())]).all()


def test_names_are_unique_words():
    names = [claim.name for claim in ALL]
    assert len(set(names)) == len(names) >= 25
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in names)


@pytest.mark.parametrize("claim", ALL, ids=lambda claim: claim.name)
def test_every_claim_says_what_and_whose_and_what_is_independent_of_what(claim: Claim):
    assert claim.statement.endswith(".")
    assert 30 < len(claim.statement) <= 120
    assert len(claim.source) > 10
    assert not claim.source.endswith(".")
    assert re.match("Measured(:| and predicted as the module says)", claim.check.__doc__ or "")


@pytest.mark.parametrize("name", [claim.name for claim in QUICK])
def test_quick_claims_hold(name: str, results: dict[str, Result]):
    # Each number fails by chance once in two million times (5 sigma, two-sided), on this fixed seed.
    check(results[name])


@pytest.mark.slow
@pytest.mark.parametrize("claim", [claim for claim in ALL if not claim.quick], ids=lambda claim: claim.name)
def test_every_other_claim_holds(claim: Claim):
    # As above; a minute for all of them.
    check(claim.run(0))


def test_the_sign_that_lecture_notes_print_is_refuted(results: dict[str, Result]):
    [number] = results["sign-is-minus"].outcome.numbers
    plus = next(control for control in number.controls if control.name == "a plus sign")
    assert plus.predicted == pytest.approx(0.8 + 0.6 * np.arccos(0.6))
    assert number.refutes(plus)


def test_a_wrong_prediction_is_judged_to_fail(results: dict[str, Result]):
    for found in results.values():
        for number in found.outcome.numbers:
            off = 6 * number.uncertainty + 1.01 * number.allowance
            assert replace(number, predicted=number.measured + off).agrees == "fails"
            for control in number.controls:
                assert replace(number, predicted=control.predicted).agrees == "fails"


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
    assert number_of("x", 1, Estimate(2.0, 0.5), refutes={"another law": 9.0}).verdict == "holds"
    assert scaled(Estimate(2.0, 0.5), -3.0, 1.0) == Estimate(-5.0, 1.5)
    assert difference(Estimate(2.0, 3.0), Estimate(1.0, 4.0)) == Estimate(1.0, 5.0)


def test_two_widths_extrapolate_what_is_off_by_one_over_the_width():
    rng, true = np.random.default_rng(1), 0.7
    coarse, fine = (true + 3 / n + 40 / n**2 + rng.standard_normal(40_000) / 10 for n in (64, 128))
    found = extrapolated(mean_of, coarse, fine)
    assert found.error == pytest.approx(np.hypot(2 * mean_of(fine).error, mean_of(coarse).error))
    # 5 sigma, and what the second order leaves, 40/(2 * 64^2)
    assert abs(found.value - true) < 5 * found.error + 20 / 64**2
    assert abs(mean_of(fine).value - true) > 3 * abs(found.value - true)
    assert next_order(64).size == pytest.approx(50 / 64**2)


def test_a_density_line_is_a_density_of_the_correlation():
    line = density_line(pair_density(shaped_relu_drift(0.3), 0.7, time=0.5), "law", refuted=True)
    assert line.role == "refuted"
    assert np.trapezoid(line.y, line.x) == pytest.approx(1.0, abs=0.01)


def test_a_seed_decides_and_claims_share_none():
    seeds = []
    outcome = Outcome((made_number(1.0, 1.0),), "", FIGURE)
    for name in ("first", "second"):
        claim = replace(made_claim(name=name), check=lambda seed: seeds.append(seed) or outcome)
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
def test_every_figure_has_its_axes_its_series_and_what_was_simulated(name: str, results: dict[str, Result]):
    found = results[name]
    spec = draw(found).to_dict()
    titles = {layer["encoding"][axis]["title"] for layer in spec["layer"] for axis in "xy"}
    assert titles == {found.outcome.figure.x, found.outcome.figure.y}
    assert found.outcome.simulated[:30] in " ".join(spec["title"]["subtitle"])
    colours, dashes = (spec["layer"][0]["encoding"][name]["scale"] for name in ("color", "strokeDash"))
    assert colours["domain"] == dashes["domain"]
    looks = list(zip(colours["range"], map(tuple, dashes["range"]), strict=True))
    assert len(set(looks)) == len(looks) == len(found.outcome.figure.series), "series are told apart"


def test_a_claim_that_fails_is_shown_to_fail():
    wrong = made_claim(made_number(predicted=1.0, measured=9.0))
    lost = made_claim(made_number(predicted=1.0, measured=np.nan), name="lost")
    fine = made_claim(made_number(predicted=1.0, measured=1.0), name="fine")
    made = gallery([wrong.run(0), lost.run(0), fine.run(0)])
    assert "3 claims checked, 2 fail" in made.html
    assert made.html.count('class="claim problem"') == 2
    assert made.data["fails"] == ["made", "lost"]
    assert json.loads(made.to_json())["claims"][1]["numbers"][0]["measured"] is None


def test_a_gallery_of_nothing_and_a_folder_that_cannot_be_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="at least one checked claim"):
        gallery([])
    made = gallery([made_claim(made_number(1.0, 1.0)).run(0)])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="could not be made"):
        made.save(tmp_path / "file" / "folder")
    with pytest.raises(InputError, match="empty"):
        made.save("")


def test_the_registry_is_what_is_documented():
    assert claims.ALL is ALL
    assert all(isinstance(claim, Claim) for claim in ALL)
    assert isinstance(FAR, Control)
    assert isinstance(made_number(1.0, 1.0), Number)
