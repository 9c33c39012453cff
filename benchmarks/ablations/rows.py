"""The rows of the paper's tables 4, 5, X and XI: what each changes, and what the paper found."""

from __future__ import annotations

from typing import NamedTuple

DECODER = "model.transformer_decoder"
DEFAULT = "default"


class Figures(NamedTuple):
    """What the paper says, R50: AP and PQ on COCO, mIoU on ADE20K; the FLOPs on COCO instances."""

    AP: float
    PQ: float
    mIoU: float  # noqa: N815 - as the metrics call it
    GFLOP: float | None = None


class Row(NamedTuple):
    """A row of one or more tables; `against` is the row that it is compared with."""

    name: str
    tables: tuple[str, ...]
    changes: tuple[str, ...]
    paper: Figures
    against: str = DEFAULT


class Setting(NamedTuple):
    """A task on small data: the recipe, what it needs to be small, and the figure that counts."""

    recipe: str
    changes: tuple[str, ...]
    metric: str
    classes: int
    """So many the class head has where its cost is measured."""


TABLES = {
    "4a": "what matters most",
    "4b": "improvements of the decoder",
    "4c": "masked attention",
    "4d": "feature resolution",
    "4e": "pixel decoders",
    "5": "masks or points, in matching and in the loss",
    "Xa": "number of queries",
    "Xb": "queries",
    "XI": "MaskFormer's decoder, both with FPN",
}

SIDE = 128
"""Of the crops."""
CROPS = f"data.augmentation={{kind: crop, short_edges: [128, 160, 192], crop: [{SIDE}, {SIDE}]}}"
SMALL = ("test.short_edge=192", "test.max_size=320")
SETTINGS = {
    "semantic": Setting("tiny/camvid", (CROPS, *SMALL, "train.evaluate_on=51"), "mIoU", 11),
    "instance": Setting(
        "tiny/panoptic",
        (
            CROPS,
            *SMALL,
            "data.format=coco",
            "data.train.annotations=instances_train.json",
            "data.val.annotations=instances_val.json",
            "test.task=instance",
        ),
        "AP",
        1,
    ),
    "panoptic": Setting(
        "tiny/panoptic",
        (
            CROPS,
            *SMALL,
            "data.train.annotations=panoptic_coarse_train.json",
            "data.val.annotations=panoptic_coarse_val.json",
        ),
        "PQ",
        27,
    ),
}

FULL = f"{DECODER}.attention=full"
COARSE = f"{DECODER}.levels=[[32]]"
ZERO = f"{DECODER}.queries=zero"
SELF_FIRST = f"{DECODER}.order=[self, cross, ffn]"
DROPOUT = f"{DECODER}.dropout=0.1"
UNSUPERVISED = "loss.supervise_queries=false"
FPN = "model.pixel_decoder={kind: fpn}"
MASKFORMER = (FPN, FULL, COARSE, ZERO, SELF_FIRST, DROPOUT, UNSUPERVISED)
MASKFORMER_LOSS = (
    "loss.mask_loss=focal",
    "loss.class_weight=1",
    "loss.mask_weight=20",
    "loss.dice_weight=1",
    "loss.match_on=pixels",
    "loss.supervise_on=pixels",
)

# The most telling first: a run may end early.
ROWS = [
    Row(DEFAULT, tuple(TABLES)[:-1], (), Figures(43.7, 51.9, 47.2, 226)),
    Row("full attention", ("4a", "4c"), (FULL,), Figures(37.8, 47.1, 45.5, 213)),
    Row(
        "mask pooling",
        ("4c",),
        (f"{DECODER}.attention=mask_pooling",),
        Figures(43.1, 51.5, 46.0, 217),
    ),
    Row("SMCA", ("4c",), (f"{DECODER}.attention=smca",), Figures(37.9, 47.2, 46.6, 213)),
    Row("1/32 alone", ("4a", "4d"), (COARSE,), Figures(41.5, 50.2, 46.1, 218)),
    Row("1/16 alone", ("4d",), (f"{DECODER}.levels=[[16]]",), Figures(43.0, 51.5, 46.5, 222)),
    Row("1/8 alone", ("4d",), (f"{DECODER}.levels=[[8]]",), Figures(44.0, 51.8, 47.4, 239)),
    Row(
        "all scales at once",
        ("4d",),
        (f"{DECODER}.levels=[[32, 16, 8]]",),
        Figures(44.0, 51.9, 46.3, 247),
    ),
    Row("FPN", ("4e", "XI"), (FPN,), Figures(41.5, 50.7, 45.6, 195)),
    Row("BiFPN", ("4e",), ("model.pixel_decoder={kind: bifpn}",), Figures(43.5, 51.8, 45.6, 204)),
    Row(
        "Semantic FPN",
        ("4e",),
        ("model.pixel_decoder={kind: semantic_fpn}",),
        Figures(42.1, 51.2, 46.2, 258),
    ),
    Row("FaPN", ("4e",), ("model.pixel_decoder={kind: fapn}",), Figures(42.4, 51.8, 46.8)),
    Row(
        "matched and learned on masks",
        ("5",),
        ("loss.match_on=pixels", "loss.supervise_on=pixels"),
        Figures(41.0, 50.3, 45.9),
    ),
    Row("matched on masks", ("5",), ("loss.match_on=pixels",), Figures(41.0, 50.8, 45.9)),
    Row("learned on masks", ("5",), ("loss.supervise_on=pixels",), Figures(43.1, 51.4, 47.3)),
    Row("zero queries", ("4b", "Xb"), (ZERO,), Figures(42.9, 51.2, 45.4, 226)),
    Row("self-attention first", ("4b",), (SELF_FIRST,), Figures(43.2, 51.6, 46.3, 226)),
    Row("dropout", ("4b",), (DROPOUT,), Figures(43.0, 51.3, 47.2, 226)),
    Row(
        "zero queries, self-attention first, dropout",
        ("4b",),
        (ZERO, SELF_FIRST, DROPOUT),
        Figures(42.3, 50.8, 46.3, 226),
    ),
    Row("queries not supervised", ("Xb",), (UNSUPERVISED,), Figures(42.9, 51.2, 47.0, 226)),
    Row("MaskFormer's decoder", ("XI",), MASKFORMER, Figures(37.8, 48.2, 45.3), against="FPN"),
    Row(
        "MaskFormer's decoder and loss",
        ("XI",),
        (*MASKFORMER, *MASKFORMER_LOSS),
        Figures(34.0, 46.5, 44.5),
        against="FPN",
    ),
    Row("50 queries", ("Xa",), (f"{DECODER}.num_queries=50",), Figures(42.4, 50.5, 46.2, 217)),
    Row("200 queries", ("Xa",), (f"{DECODER}.num_queries=200",), Figures(43.5, 52.2, 47.0, 246)),
    Row("300 queries", ("Xa",), (f"{DECODER}.num_queries=300",), Figures(43.5, 52.1, 46.5, 265)),
    Row("1000 queries", ("Xa",), (f"{DECODER}.num_queries=1000",), Figures(40.3, 50.7, 44.8, 405)),
]
