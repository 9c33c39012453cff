"""Views of data sets."""

from collections.abc import Callable

import pytest

from mask2former.data import Cached, Dataset, Shapes


class Unlabelled(Shapes):
    """A split whose truth a benchmark keeps to itself."""

    is_labelled = False


def test_selection_keeps_the_given_order() -> None:
    dataset = Shapes(6)
    view = dataset.select([4, 1]).select([1])
    assert len(view) == 1
    assert view.file(0) == dataset.file(1)
    assert view.categories == dataset.categories
    assert (view.image(0) == dataset.image(1)).all()
    assert (view.sample(0)["ids"] == dataset.sample(1)["ids"]).all()
    assert view.truth(0).instances == dataset.truth(1).instances


def test_selection_outside_the_data_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[6\] are not in 0\.\.5"):
        Shapes(6).select([0, 6])


@pytest.mark.parametrize("view", [lambda dataset: Cached(dataset, 1), lambda d: d.select([0])])
def test_views_tell_whether_there_is_truth(view: Callable[[Dataset], Dataset]) -> None:
    assert view(Shapes(1)).is_labelled
    assert not view(Unlabelled(1)).is_labelled


def test_cache_keeps_what_fits() -> None:
    dataset = Shapes(4, (32, 32))
    sample = dataset.sample(0)
    size = sample["image"].nbytes + sample["ids"].nbytes
    cached = Cached(dataset, 2.5 * size / 2**20)
    first = [cached.sample(i) for i in range(4)]
    again = [cached.sample(i) for i in range(4)]
    kept = [a["image"] is b["image"] for a, b in zip(first, again, strict=True)]
    assert kept == [True, True, False, False]
    assert all((a["ids"] == b["ids"]).all() for a, b in zip(first, again, strict=True))
    assert cached.file(2) == dataset.file(2)
    assert cached.truth(2).instances == dataset.truth(2).instances
