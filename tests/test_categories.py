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
    [
        ([], "names no category"),
        ([{"id": 1, "name": "a"}, {"id": 1, "name": "b"}], r"\[1\]"),
        ([{"id": 1, "name": "a"}, {"name": "b"}], r"class 1 of the list is \{'name': 'b'\}; write"),
        ([{"id": 1}], "class 0 of the list is"),
        ([{"id": "one", "name": "a"}], "class 0 of the list is"),
        (["road"], "class 0 of the list is 'road'; write"),
        ([{"id": 1, "name": "a", "color": "red"}], "the colour 'red' is no"),
        ([{"id": 1, "name": "a", "color": [1, 2]}], r"the colour \[1, 2\] is no"),
        ([{"id": 1, "name": "a", "color": [1, 2, 256]}], "is no .* of 0..255"),
        ([{"id": 1, "name": "a", "color": [1, 2, 0.5]}], "is no .* of 0..255"),
    ],
)
def test_impossible_lists_are_refused(entries: list[dict], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Categories.from_json(entries)


def test_classes_take_the_labels_of_the_wanted_names() -> None:
    turned = Categories([Category(1, "sky", (0, 0, 0)), Category(2, "cat", (9, 9, 9))])
    found = turned.in_order_of(PAIR)
    assert found.label_of == {2: 0, 1: 1}
    assert (found.names, found.is_thing) == (PAIR.names, PAIR.is_thing)


def test_some_of_the_wanted_classes_are_enough() -> None:
    assert Categories([Category(3, "sky", (0, 0, 0))]).in_order_of(PAIR) is PAIR


@pytest.mark.parametrize(
    "other", [[Category(3, "cat", (0, 0, 0))], [Category(9, "dog", (0, 0, 0))]]
)
def test_other_classes_are_refused(other: list[Category]) -> None:
    with pytest.raises(ValueError, match="but the model's are cat, sky"):
        Categories(other).in_order_of(PAIR)


def test_one_class_of_another_name_can_be_taken_for_it() -> None:
    cell, other = (Categories([Category(1, name, (0, 0, 0))]) for name in ("cell", "nucleus"))
    with pytest.raises(ValueError, match=r"; data.merge=\{nucleus: \[cell\]\} takes one for the"):
        cell.in_order_of(other)


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
        ("voc", 21, 20),
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
