from itertools import pairwise

from kidneyseg.search.report.marks import hover, thinned, thinning_words

from .conftest import HOSTILE, complete


def test_few_trials_are_all_drawn() -> None:
    trials = [complete(k, 0.5) for k in range(8)]
    assert thinned(trials, 8, []) == trials
    assert thinning_words(8, 8) == ""


def test_of_many_the_best_the_reference_and_an_even_spread_are_drawn() -> None:
    trials = [complete(k, k / 1000) for k in range(1000)]
    shown = [trial.number for trial in thinned(trials, 100, [trials[7]])]
    assert set(range(975, 1000)) <= set(shown)  # the best quarter of the places
    assert 7 in shown
    assert 99 <= len(shown) <= 101
    assert shown == sorted(shown)
    steps = [after - before for before, after in pairwise(shown)]
    assert max(steps) <= 14  # 974 others in 75 places
    assert "100 of 1000 trials" in thinning_words(100, 1000)


def test_values_are_no_markup_under_the_pointer() -> None:
    words = hover(complete(3, 0.91234, params={"sampling": HOSTILE}))
    assert words.startswith("trial 3: Dice 0.9123<br>")
    assert "<img" not in words
