"""Questions to a whole data set that no single picture answers, each with its findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mask2former.categories import Categories
from mask2former.config import Config, SampledQueries, SplitName
from mask2former.data import Dataset
from mask2former.data.class_maps import warn_of_one_class
from mask2former.report.check.copies import Copy
from mask2former.report.check.findings import Findings
from mask2former.report.check.tally import Tally

RARE = 10
"""Objects of a class below which there is little to learn from."""
LISTED = 20
"""Classes that one sentence names."""
UNEVEN = 100
"""Times as many objects of one class as of another, from which training should weigh them."""


def check_classes(
    categories: Categories, tallies: dict[SplitName, Tally], findings: Findings
) -> None:
    """Which classes are named twice, are never shown, are rare, or far from even?"""
    for name, count in Counter(categories.names).items():
        if count > 1:
            sentence = f"the class '{name}' is there {count} times with different ids; merge them"
            findings.add("warning", "", name, sentence)
    train, val = tallies.get("train", Tally()), tallies.get("val", Tally())
    if not train.pictures:
        return
    shown = {label: count for label, count in train.objects.items() if count}
    names = categories.names
    unseen = [name for label, name in enumerate(names) if not train.objects[label]]
    never = [name for name in unseen if val.objects[names.index(name)]]
    rare = [names[label] for label, count in shown.items() if count < RARE]
    for severity, found, sentence in (
        ("warning", never, "are in validation pictures, but in no training picture"),
        ("note", [name for name in unseen if name not in never], "are in no training picture"),
        ("note", rare, f"have fewer than {RARE} training objects, which is little to learn from"),
    ):
        if found:
            listed = f"{', '.join(found[:LISTED])}{', ...' if len(found) > LISTED else ''}"
            findings.add(severity, "", listed, f"{len(found)} classes {sentence}: {listed}")
    if shown and max(shown.values()) > UNEVEN * min(shown.values()):
        most, least = (categories.names[pick(shown, key=shown.__getitem__)] for pick in (max, min))
        sentence = (
            f"'{most}' has {max(shown.values()) // min(shown.values())} times as many objects as "
            f"'{least}'; loss.class_weights=auto or data.repeat evens that out"
        )
        findings.add("note", "", most, sentence)


def check_one_class(
    config: Config, categories: Categories, tally: Tally, findings: Findings
) -> None:
    """Is there anything to tell apart in maps of classes?"""
    shown = [name for label, name in enumerate(categories.names) if tally.objects[label]]
    for sentence in warn_of_one_class(config.test.task, shown):
        findings.add("warning", "", shown[0], sentence)


def check_counts(config: Config, tally: Tally, findings: Findings) -> None:
    """Are there objects at all, and a query for each in the fullest pictures?"""
    if not tally.pictures:
        return
    if not tally.objects and findings.counts["fault"]:
        return  # the faults say why
    if not tally.objects:
        findings.add("fault", "", "train", "no training picture shows an object of any class")
        return
    if tally.bare:
        sentence = (
            f"{tally.bare} of {tally.pictures} training pictures have no object; they stay in"
        )
        findings.add("note", "", "train", f"{sentence}, and teach what is no object")
    decoder = config.model.transformer_decoder
    if isinstance(decoder.queries, SampledQueries):
        return
    over = sum(n for count, n in tally.per_picture.items() if count > decoder.num_queries)
    if over:
        findings.add(
            "warning",
            "",
            "num_queries",
            f"{over} pictures have more objects than the {decoder.num_queries} queries, the most "
            f"{tally.most}: the rest is never found; set model.transformer_decoder.num_queries="
            f"{-(-tally.most * 3 // 2 // 50) * 50} or take the recipe nuclei",
        )


def check_sizes(config: Config, tally: Tally, findings: Findings) -> None:
    """Are objects large enough for the network's finest stride of 4?"""
    total = tally.objects.total()
    for side, share, severity in ((4, 0.02, "warning"), (8, 0.1, "note")):
        count = tally.smaller_than(side)
        if total and count / total > share:
            findings.add(
                "warning" if severity == "warning" else "note",
                "",
                f"{side} x {side}",
                f"{count} of {total} objects are smaller than {side} x {side} pixels at the size "
                f"the network sees (short edge {config.test.short_edge}); larger pictures "
                "(test.short_edge, data.augmentation) or crops show more of them",
            )
            return


def check_copies(
    copies: Sequence[Copy], datasets: dict[SplitName, Dataset], findings: Findings
) -> list[Copy]:
    """Is a picture in both splits, or twice in one? The copies that were told of come back."""
    train, val = (
        {str(d.file(i)) for i in range(len(d))} if (d := datasets.get(name)) is not None else set()
        for name in ("train", "val")
    )
    if val and val <= train:
        sentence = "all validation pictures are training pictures: figures will flatter the model"
        findings.add("warning", "", "val", sentence)
        copies = [copy for copy in copies if not copy.leaks]
    told = []
    for copy in copies:
        first, second = (Path(datasets[split].file(i)) for split, i in (copy.first, copy.second))
        if copy.leaks:
            degree = "has the same pixels as" if copy.is_exact else "looks very much like"
            sentence = f"{second}: {degree} the training picture {first}; keep it in one split"
            findings.add("fault" if copy.is_exact else "warning", second, copy.second[0], sentence)
            told.append(copy)
        elif first != second:
            told.append(copy)
            sentence = f"{second}: has the same pixels as {first}, in the same split"
            findings.add("warning", second, copy.second[0], sentence)
    return told
