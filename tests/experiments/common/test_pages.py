"""Pages show what the results hold, and say what has moved."""

import pytest

from experiments.common.pages import Page, cell, differ, grid, render
from experiments.common.results import Results


def test_a_figure_is_a_mean_over_seeds_or_what_was_taken_over():
    assert cell([{"kl": 1.0}, {"kl": 2.0}, {"kl": None}, {"kl": 3.0}], "kl") == "2 ± 0.58"
    assert cell([{"kl": {"mean": 0.5, "error": 0.12}}], "kl") == "0.5 ± 0.12"
    assert cell([{"kl": {"mean": 0.5, "low": 0.4, "high": 0.6}}], "kl") == "0.5 (0.4 to 0.6)"
    assert cell([{}], "kl") == "–"


def test_pairs_with_a_run_that_broke_are_left_out():
    ours, theirs = ([{"kl": v} for v in kls] for kls in ((1.0, None, 5.0), (0.0, 9.0, 2.0)))
    assert differ(ours, theirs, "kl") == (2.0, 1.0, 1)  # of the differences 1 and 3
    assert differ(ours, theirs, "kl", pairs=False)[0] == pytest.approx(3 - 11 / 3)


def test_columns_of_figures_are_set_to_the_right():
    text = grid(["method", "kl", "of"], [["a", "1 ± 2", "x"], ["b", "-3", "y"]])
    assert text.splitlines()[1] == "| --- | ---: | --- |"


def page(**options):
    return Page("Is it so?", "It is 2.", ["m"], [["a"]], keys=["m"], measures=["kl"], **options)


def older(mean):
    facts = {"old_command": "python old", "older": "it was longer"}
    runs = [{"m": "a", "kl": {"mean": mean, "error": 0.1}}, {"m": "b", "kl": None}]
    return Results("new", {}, facts=facts, runs=runs, rerun=False, reason="too long")


@pytest.mark.parametrize(("mean", "moved"), [(2.0, 0), (2.3, 0), (2.4, 1)])
def test_a_page_says_how_many_figures_moved_by_more_than_their_error(mean, moved):
    runs = [{"m": "a", "kl": kl} for kl in (1.9, 2.1, 1.7, 2.3)]  # 2 ± 0.13; 2·√(0.1² + 0.13²)
    results = Results("python new", {}, date="2000-01-01", versions={"torch": "9"}, runs=runs)
    text = render(page(), results, older(mean))
    assert f"Of 1 figures that both have with an error, {moved} lie" in text
    assert ("Figures that moved" in text) == bool(moved)
    assert "1 rows of the older table" in text  # b was not run again
    assert text.startswith("# Is it so?\n\nIt is 2.\n\n| m |")
    assert "2000-01-01, torch 9" in text


def test_a_page_says_that_figures_were_taken_over():
    text = render(page(), older(1.0), None)
    assert "not computed again with the present code: too long." in text
    assert "it was longer. The old command was `python old`" in text


def test_a_short_table_has_eight_rows_at_most():
    with pytest.raises(ValueError, match="has 9 rows; accepted are 8"):
        Page("Is it so?", "", ["m"], [["a"]] * 9)
