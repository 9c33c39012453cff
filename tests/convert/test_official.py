"""Files of the official form: every variant is recognised, loads strictly, and keeps its bits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mask2former.build import build_model
from mask2former.checkpoint import load_model
from mask2former.config import load_config, override_config
from mask2former.convert.foreign import read_foreign
from mask2former.convert.huggingface import HUGGINGFACE
from mask2former.convert.official import OFFICIAL
from mask2former.convert.rows import to_ours, to_theirs

TRAINABLE = "model.backbone.norm=trainable"
FULL = {  # recipe, settings -> official tensors, of the backbone (model_facts 4.4), parameters
    "r50 frozen": ("coco/panoptic/r50", [], 133, 558, 265, 43_983_878),
    "r50 SyncBN": ("coco/panoptic/r50", [TRAINABLE], 133, 611, 318, 44_036_998),
    "r101 frozen": ("coco/panoptic/r101", [], 133, 813, 520, 62_923_782),
    "r101 SyncBN": ("coco/panoptic/r101", [TRAINABLE], 133, 917, 624, 63_029_126),
    "swin_t": ("coco/panoptic/swin_t", [], 133, 482, 189, 47_435_264),
    "swin_s": ("coco/panoptic/swin_s", [], 133, 650, 357, 68_753_168),
    "swin_b": ("coco/panoptic/swin_b", [], 133, 650, 357, 106_917_822),
    "swin_l of 200 queries": ("coco/panoptic/swin_l", [], 133, 650, 357, 215_535_610),
    "video r50": ("youtubevis_2019/r50", [], 40, 558, 265, 43_959_977),
    "video swin_l": ("youtubevis_2021/swin_l", [], 40, 650, 357, 215_511_709),
}
QUICK = {"r50 frozen", "r50 SyncBN", "swin_t", "video r50"}
ROWS = [
    pytest.param(*row, id=name, marks=() if name in QUICK else pytest.mark.slow)
    for name, row in FULL.items()
]


@pytest.mark.parametrize(
    ("recipe", "settings", "classes", "keys", "of_backbone", "parameters"), ROWS
)
def test_whole_file_loads_strictly_and_keeps_its_bits(
    forge, tmp_path, recipe, settings, classes, keys, of_backbone, parameters
):
    wanted = override_config(load_config(recipe), settings)
    weights = forge.weights(wanted.model, classes)
    query = "query_feat" if "youtubevis" in recipe else "static_query"
    tensors = forge.official(weights, query)
    assert len(tensors) == keys
    assert sum(name.startswith("backbone.") for name in tensors) == of_backbone
    folder = tmp_path / recipe  # whose words tell what shapes cannot
    folder.mkdir(parents=True)
    model, card = load_model(forge.save(folder / "model.pkl", tensors))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    read = model.state_dict()
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name], weights[name]) for name in weights)
    assert card.config.test == wanted.test
    assert card.config.model.transformer_decoder == wanted.model.transformer_decoder
    assert len(card.categories) == classes


@pytest.mark.parametrize(("name", "keys"), [("r50", (594, 647)), ("swin_t", (566, 556))])
def test_tables_agree_on_the_number_of_tensors(forge, name, keys):
    file_a, in_memory = keys  # the Hub's files of 2023, and transformers 5 in memory
    with torch.device("meta"):
        weights = build_model(load_config(f"coco/panoptic/{name}").model, 133).state_dict()
    names = to_theirs(weights, HUGGINGFACE).keys()
    tables = sum(name.endswith("relative_position_bias_table") for name in names)
    norms = sum(name.endswith("running_mean") for name in names)
    assert len(names) + tables + 1 == file_a  # an index for every table; criterion.empty_weight
    assert len(names) + (2 if tables else 0) + norms + 1 == in_memory


def test_every_published_row_of_one_class_count_is_told_by_words_or_queries(forge, tmp_path):
    weights = forge.weights(forge.small(), 150)
    path = forge.save(tmp_path / "model.pkl", forge.official(weights))
    card, remarks = read_foreign(path)[1:]
    assert card.config.test.task == "semantic"
    assert "--recipe" in remarks[0]
    named = forge.save(tmp_path / "my-ade-panoptic.pkl", forge.official(weights))
    assert read_foreign(named).card.config.test.task == "panoptic"
    told = read_foreign(path, "ade20k/panoptic/r50")
    assert told.card.config.test == load_config("ade20k/panoptic/r50").test
    assert told.card.categories.names[0] == "wall"
    assert told.remarks == ()


def test_official_name_tells_task_licence_and_settings(forge, tmp_path):
    tensors = forge.official(forge.weights(forge.small(), 19))
    path = forge.save(tmp_path / "model_final_4ab90c.pkl", tensors)  # Cityscapes panoptic, R50
    card, remarks = read_foreign(path)[1:]
    assert card.config.test == load_config("cityscapes/panoptic/r50").test
    assert card.licence == "CC BY-NC 4.0"
    assert remarks == ()


def test_names_of_classes_that_a_data_set_lends_are_said(forge, tmp_path):
    tensors = forge.official(forge.weights(forge.small(), 8))
    path = forge.save(tmp_path / "mine.pkl", tensors)
    _, card, remarks = read_foreign(path)
    assert card.categories.names[0] == "person"
    (remark,) = remarks
    assert "taken as cityscapes/instance/" in remark
    assert "with its class names (person, rider, car, ...)" in remark
    own = read_foreign(path, "coco/instance/r50")
    assert own.card.categories.names[0] == "class 0"
    assert own.remarks == ()


def test_classes_of_nobody_are_numbered_and_said(forge, tmp_path):
    tensors = forge.official(forge.weights(forge.small(), 3))
    _, card, remarks = read_foreign(forge.save(tmp_path / "mine.pkl", tensors))
    assert card.categories.names == ["class 0", "class 1", "class 2"]
    assert "mine.pkl: 3 classes of no published data set" in remarks[0]


@pytest.mark.parametrize("old", [False, True])
def test_pixel_decoder_prefix_is_put_in_only_where_it_is_absent(forge, old):
    weights = forge.weights(forge.small())
    tensors = forge.official(weights)
    if old:
        tensors = {
            name.replace("sem_seg_head.pixel_decoder.", "sem_seg_head."): tensor
            for name, tensor in tensors.items()
        }
    assert to_ours(tensors, OFFICIAL, source="a test").keys() == weights.keys()


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_every_pickle_protocol_is_read(forge, tmp_path, protocol):
    weights = forge.weights(forge.small())
    tensors = forge.official(weights)
    tensors["sem_seg_head.predictor.class_embed.bias"] = torch.arange(4.0).double()
    read = read_foreign(forge.save(tmp_path / "a.pkl", tensors, protocol)).weights
    assert torch.equal(read["transformer_decoder.class_head.bias"], torch.arange(4.0))
    assert all(torch.equal(read[n], weights[n]) for n in weights if "class_head" not in n)


def test_training_checkpoint_with_an_optimizer_is_read(forge, tmp_path):
    weights = forge.weights(forge.small())
    state = {"state": {0: {"step": torch.tensor(5.0), "exp_avg": torch.zeros(3)}}}
    document = {"model": forge.official(weights), "optimizer": state, "iteration": 90_000}
    torch.save(document, tmp_path / "model_0089999.pth")
    read = read_foreign(tmp_path / "model_0089999.pth").weights
    assert all(torch.equal(read[name], weights[name]) for name in weights)


def test_distributed_prefix_is_taken_off(forge, tmp_path):
    weights = forge.weights(forge.small())
    state = {f"module.{name}": tensor for name, tensor in forge.official(weights).items()}
    torch.save(state, tmp_path / "ddp.pth")
    assert read_foreign(tmp_path / "ddp.pth").weights.keys() == weights.keys()


def test_half_precision_becomes_fp32(forge, tmp_path):
    tensors = forge.official(forge.weights(forge.small()))
    halved = {n: t.half() if t.is_floating_point() else t for n, t in tensors.items()}
    read = read_foreign(forge.save(tmp_path / "half.pkl", halved)).weights
    assert {tensor.dtype for tensor in read.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.pop("backbone.norm1.weight"), r"1 missing \(backbone\.norm1\.weight\)"),
        (
            lambda t: t.update({"backbone.stranger": torch.ones(1)}),
            "1 tensors .* 'backbone.stranger'",
        ),
        (
            lambda t: t.update({"backbone.norm1.weight": torch.ones(3)}),
            r"1 of another shape \(backbone\.norm1\.weight \(3,\) for \(64,\)\)",
        ),
        (
            lambda t: t.update({"backbone.norm1.weight": torch.ones(64, dtype=torch.int32)}),
            r"backbone\.norm1\.weight \(64,\) integers for \(64,\)",
        ),
        (
            lambda t: t.pop("sem_seg_head.predictor.query_embed.weight"),
            "lack 'transformer_decoder.queries.position.weight'",
        ),
        (lambda t: t.pop("sem_seg_head.predictor.class_embed.bias"), "no class head"),
        (
            lambda t: t.update({"sem_seg_head.predictor.query_feat.weight": torch.ones(5, 64)}),
            "twice",
        ),
    ],
)
def test_difference_is_one_sentence(forge, tmp_path, change, sentence):
    tensors = forge.official(forge.weights(forge.small()))
    change(tensors)
    with pytest.raises(ValueError, match=sentence) as fault:
        load_model(forge.save(tmp_path / "changed.pkl", tensors))
    assert "changed.pkl" in str(fault.value)
    assert "\n" not in str(fault.value)


def test_other_networks_are_refused_by_name(tmp_path: Path):
    torch.save({"state_dict": {"conv1.weight": torch.ones(2)}}, tmp_path / "resnet.pth")
    with pytest.raises(ValueError, match=r"resnet\.pth holds no Mask2Former .* 'conv1\.weight'"):
        load_model(tmp_path / "resnet.pth")
