"""Class lists: order gives labels, ids are the data set's, bundled lists are complete."""

from itertools import pairwise

import pytest

from mask2former.categories import Categories, Category, distinct_color

PAIR = Categories([Category(7, "cat", (1, 2, 3)), Category(3, "sky", (4, 5, 6), is_thing=False)])


def test_labels_follow_the_order_not_the_ids() -> None:
    assert PAIR.label_of == {7: 0, 3: 1}
    assert PAIR.names == ["cat", "sky"]
    assert PAIR.is_thing == [True, False]
    assert len(PAIR) == 2
    assert PAIR[1].name == "sky"


def test_json_round_trip_is_equal() -> None:
    again = Categories.from_json(PAIR.to_json())
    assert again == PAIR
    assert hash(again) == hash(PAIR)


def test_coco_entries_get_a_color_and_their_isthing() -> None:
    categories = Categories.from_json(
        [{"id": 1, "name": "a", "isthing": 0}, {"id": 2, "name": "b"}]
    )
    assert categories.is_thing == [False, True]
    assert categories[1].color == distinct_color(1)


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [([], "names no category"), ([{"id": 1, "name": "a"}, {"id": 1, "name": "b"}], r"\[1\]")],
)
def test_impossible_lists_are_refused(entries: list[dict], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Categories.from_json(entries)


@pytest.mark.parametrize(
    ("name", "count", "things"),
    [
        ("coco_panoptic", 133, 80),
        ("coco_instance", 80, 80),
        ("ade20k_semantic", 150, None),
        ("ade20k_panoptic", 150, 100),
        ("ade20k_instance", 100, 100),
        ("cityscapes_panoptic", 19, 8),
        ("cityscapes_instance", 8, 8),
        ("cityscapes_semantic", 19, None),
        ("mapillary_vistas", 65, 37),
        ("youtubevis_2019", 40, 40),
        ("youtubevis_2021", 40, 40),
    ],
)
def test_bundled_list_has_the_published_count(name: str, count: int, things: int | None) -> None:
    categories = Categories.bundled(name)
    assert len(categories) == count
    assert things is None or sum(categories.is_thing) == things


def test_unknown_bundled_list_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no bundled class list 'coca'.*coco_instance"):
        Categories.bundled("coca")


def test_neighbouring_colors_differ() -> None:
    colors = [distinct_color(position) for position in range(150)]
    assert len(set(colors)) == 150
    for a, b in pairwise(colors):
        assert sum(abs(x - y) for x, y in zip(a, b, strict=True)) > 60
