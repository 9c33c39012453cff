"""Folders of transformers' form: written, read by transformers, and read back."""

from __future__ import annotations

import json

import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from mask2former.build import build_model
from mask2former.card import ModelCard
from mask2former.categories import Categories
from mask2former.checkpoint import load_model
from mask2former.config import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Config,
    load_config,
    override_config,
)
from mask2former.convert.foreign import read_foreign
from mask2former.convert.hub_folder import save_hub_folder

NAMES = ("cell", "sky", "edge")


def card_of(network, names=NAMES) -> ModelCard:
    categories = Categories.from_json(
        [{"id": 3 * i, "name": name, "is_thing": name != "sky"} for i, name in enumerate(names)]
    )
    test = {"task": "panoptic", "short_edge": 96, "max_size": 160, "threshold": 0.3}
    return ModelCard(Config(model=network, test=test), categories, "CC0-1.0", {"validation": {}})


@pytest.fixture(params=["swin", "resnet50"])
def exported(request, forge, tmp_path):
    """A folder, the weights and the card it was made of."""
    network = forge.small(request.param)
    weights, card = forge.weights(network), card_of(network)
    save_hub_folder(tmp_path / "hub", weights, card)
    return tmp_path / "hub", weights, card


def edit(folder, name, **changes):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def forget_card(folder):
    """As a folder that somebody else wrote."""
    path = folder / "config.json"
    document = json.loads(path.read_text())
    del document["mask2former"]
    path.write_text(json.dumps(document))


def test_round_trip_gives_equal_bits_and_card(exported):
    folder, weights, card = exported
    model, read = load_model(folder)
    assert read == card
    assert model.state_dict().keys() == weights.keys()
    assert all(torch.equal(model.state_dict()[name], weights[name]) for name in weights)


def test_trainable_norms_keep_their_counters(forge, tmp_path):
    network = forge.small("resnet50")
    backbone = network.backbone.model_copy(update={"norm": "trainable"})
    network = network.model_copy(update={"backbone": backbone})
    weights = forge.weights(network)
    save_hub_folder(tmp_path, weights, card_of(network))
    forget_card(tmp_path)
    read = read_foreign(tmp_path)
    assert read.card.config.model.backbone.norm == "trainable"
    assert all(torch.equal(read.weights[name], weights[name]) for name in weights)


@torch.no_grad()
def test_transformers_loads_all_and_says_the_same(exported):
    folder, _, _ = exported
    theirs, report = transformers.Mask2FormerForUniversalSegmentation.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(report.values()), report
    images = torch.rand(1, 3, 96, 160) * 255
    ours, _ = load_model(folder)
    expected = theirs.eval()((images - ours.mean) / ours.std)
    prediction = ours(images)[-1]
    for own, truth in (
        (prediction.class_logits, expected.class_queries_logits),
        (prediction.mask_logits()[:, :, 0], expected.masks_queries_logits),
    ):
        torch.testing.assert_close(own, truth, atol=1e-4 * truth.abs().max().item(), rtol=0)
    assert theirs.config.id2label == dict(enumerate(NAMES))


def test_processor_of_transformers_reads_the_sizes(exported):
    folder, _, _ = exported
    processor = transformers.AutoImageProcessor.from_pretrained(folder, use_fast=False)
    prepared = processor(Image.new("RGB", (320, 192), (124, 116, 104)), return_tensors="pt")
    assert prepared["pixel_values"].shape == (1, 3, 96, 160)
    assert prepared["pixel_values"].abs().max() < 0.02


def test_folder_without_our_card_is_described_by_its_settings(exported):
    folder, weights, card = exported
    forget_card(folder)
    read = read_foreign(folder)
    assert all(torch.equal(read.weights[name], weights[name]) for name in weights)
    assert read.card.config.model == card.config.model
    assert read.card.categories.names == list(NAMES)
    assert (read.card.config.test.short_edge, read.card.config.test.max_size) == (96, 160)
    assert "no published data set" in read.remarks[0]


def test_card_is_forgotten_after_fine_tuning_on_other_classes(exported):
    folder, _, _ = exported
    edit(folder, "config.json", id2label={"0": "a", "1": "b", "2": "c"})
    assert read_foreign(folder).card.categories.names == ["a", "b", "c"]


def save_generation(folder, generation):
    """Rewrite the names as another generation of files has them."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    encoder = "model.pixel_level_module.encoder."
    layernorm = [name for name in tensors if ".swin.layernorm." in name]
    match generation:
        case "A":
            for name in layernorm:
                del tensors[name]
            for name in [n for n in tensors if n.endswith("bias_table")]:
                index = torch.zeros(49, 49, dtype=torch.int64)
                tensors[name.replace("bias_table", "index")] = index
        case "B":
            model = transformers.Mask2FormerForUniversalSegmentation.from_pretrained(folder)
            tensors = dict(model.state_dict())
        case "D":
            for name in layernorm:
                del tensors[name]
            tensors = {
                name.replace(f"{encoder}e", f"{encoder}model.e"): tensor
                for name, tensor in tensors.items()
            }
            for stage in range(4):
                for part in ("weight", "bias"):
                    old = f"{encoder}hidden_states_norms.stage{stage + 1}.{part}"
                    tensors[old.replace(f"stage{stage + 1}", str(stage))] = tensors.pop(old)
    if generation == "bin":
        torch.save(tensors, folder / "pytorch_model.bin")
        path.unlink()
    else:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


@pytest.mark.parametrize("generation", ["A", "B", "C", "D", "bin"])
def test_every_generation_of_files_is_read(forge, tmp_path, generation):
    weights = forge.weights(forge.small())
    save_hub_folder(tmp_path, weights, card_of(forge.small()))
    save_generation(tmp_path, generation)
    forget_card(tmp_path)
    read = read_foreign(tmp_path).weights
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name], weights[name]) for name in weights)


def test_bare_model_is_refused_unless_it_has_a_class_head(exported):
    folder, weights, _ = exported
    forget_card(folder)
    path = folder / "model.safetensors"
    tensors = {name.removeprefix("model."): t for name, t in load_file(path).items()}
    save_file(tensors, path)
    assert read_foreign(folder).weights.keys() == weights.keys()
    bare = {name: t for name, t in tensors.items() if not name.startswith("class_predictor")}
    save_file(bare, path)
    with pytest.raises(ValueError, match="no class head: a bare Mask2FormerModel"):
        read_foreign(folder)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model_type": "maskformer"}, "model_type is 'maskformer'"),
        ({"pre_norm": True}, "pre_norm is True; only False is known"),
        ({"backbone_config": {"model_type": "swin", "patch_size": 2}}, "patch_size is 2"),
        ({"mask2former": {"format": "mask2former/9"}}, "not of the format mask2former/1"),
    ],
)
def test_other_networks_are_refused(exported, changes, sentence):
    folder, _, _ = exported
    edit(folder, "config.json", **changes)
    with pytest.raises(ValueError, match=sentence) as fault:
        load_model(folder)
    assert "config.json" in str(fault.value)


def test_published_folder_is_known_by_its_name_and_labels(forge, tmp_path):
    names = Categories.bundled("cityscapes_panoptic").names
    network = forge.small()
    folder = tmp_path / "models--facebook--mask2former-swin-tiny-cityscapes-panoptic"
    folder = folder / "snapshots" / "0123"
    save_hub_folder(folder, forge.weights(network, 19), card_of(network, names))
    forget_card(folder)
    edit(folder, "preprocessor_config.json", size={"height": 384, "width": 384})
    (folder / "README.md").write_text("---\nlicense: other\n---\n")
    read = read_foreign(folder)
    assert read.remarks == ()
    assert read.card.licence == "CC BY-NC 4.0"
    assert read.card.config.test == load_config("cityscapes/panoptic/swin_t").test
    assert read.card.categories == Categories.bundled("cityscapes_panoptic")


def test_folder_of_a_published_name_with_other_classes_is_somebody_elses(forge, tmp_path):
    names = [f"kind {i}" for i in range(8)]
    folder = tmp_path / "mask2former-swin-tiny-cityscapes-instance"
    save_hub_folder(folder, forge.weights(forge.small(), 8), card_of(forge.small(), names))
    forget_card(folder)
    read = read_foreign(folder)
    assert read.card.categories.names == names
    assert "8 classes of no published data set" in read.remarks[0]


@pytest.mark.parametrize(
    ("changes", "mean", "std"),
    [
        ({}, (127.5, 102.0, 51.0), (63.75, 25.5, 51.0)),
        ({"rescale_factor": 1 / 127.5}, (63.75, 51.0, 25.5), (31.875, 12.75, 25.5)),
        ({"do_rescale": False}, (0.5, 0.4, 0.2), (0.25, 0.1, 0.2)),
        ({"do_normalize": False}, (0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
        ({"image_mean": None, "image_std": None}, IMAGENET_MEAN, IMAGENET_STD),
    ],
)
def test_statistics_are_of_grey_levels_however_pictures_are_scaled(exported, changes, mean, std):
    folder, _, _ = exported
    forget_card(folder)
    written = {"image_mean": [0.5, 0.4, 0.2], "image_std": [0.25, 0.1, 0.2]}
    edit(folder, "preprocessor_config.json", **written | changes)
    network = read_foreign(folder).card.config.model
    assert (network.mean, network.std) == (mean, std)


def test_statistics_of_no_three_colours_are_refused(exported):
    folder, _, _ = exported
    forget_card(folder)
    edit(folder, "preprocessor_config.json", image_mean=0.5)
    with pytest.raises(ValueError, match=r"preprocessor_config\.json: image_mean is 0\.5"):
        read_foreign(folder)


def test_forty_classes_of_pictures_are_no_video(forge, tmp_path):
    names = [f"kind {i}" for i in range(40)]
    network = forge.small()
    save_hub_folder(tmp_path, forge.weights(network, 40), card_of(network, names))
    forget_card(tmp_path)
    card = read_foreign(tmp_path).card
    assert card.config.model.transformer_decoder.position == "2d"
    assert card.categories.names == names
    edit(tmp_path, "config.json", architectures=["VideoMask2FormerForUniversalSegmentation"])
    decoder = read_foreign(tmp_path).card.config.model.transformer_decoder
    assert decoder.position == "3d"


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("model.transformer_decoder.position=3d", "'3d' .video."),
        ("model.transformer_decoder.queries=zero", "not learned"),
        ("model.transformer_decoder.queries={spacing: 16}", "not learned"),
        ("model.transformer_decoder.levels=[[32, 16, 8]]", "another decoder.levels"),
        ("model.transformer_decoder.order=[self, cross, ffn]", "another decoder.order"),
        ("model.transformer_decoder.attention=full", "another decoder.attention"),
        ("model.transformer_decoder.attention=smca", "another decoder.attention"),
        ("model.pixel_decoder={kind: fpn}", "pixel decoder 'fpn'"),
        ("model.pixel_decoder={kind: fapn}", "pixel decoder 'fapn'"),
        ("model.pixel_decoder.points=3", "heads or points"),
        ("model.dim=48", "dim=48"),
        ("model.backbone={kind: timm, name: test_efficientnet}", "backbone 'test_efficientnet'"),
    ],
)
def test_what_transformers_cannot_hold_is_refused_with_the_reason(forge, tmp_path, setting, reason):
    usual = "model.transformer_decoder.num_queries=100"  # sampled queries have no number
    config = override_config(Config(model=forge.small()), [usual, setting])
    weights = build_model(config.model, 3).state_dict()
    with pytest.raises(ValueError, match=f"cannot hold .*{reason}"):
        save_hub_folder(tmp_path / "hub", weights, card_of(config.model))
    assert not (tmp_path / "hub").exists()
