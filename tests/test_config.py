"""Settings: recipes resolve, `extends` merges, overrides reach leaves, faults are one sentence."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from mask2former.config import (
    FPN,
    Config,
    Fit,
    LargeScaleJitter,
    ResizeAndCrop,
    Settings,
    SwinBackbone,
    TimmBackbone,
    Tta,
    dump_config,
    load_config,
    override_config,
    parse_config,
)
from mask2former.config.recipes import recipe_names


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", recipe_names())
def test_recipe_resolves_and_survives_the_round_trip(name: str) -> None:
    config = load_config(name)
    assert parse_config(dump_config(config), name) == config


def test_recipes_leave_out_the_bases() -> None:
    assert "tiny/shapes" in recipe_names()
    assert not any("_base" in name for name in recipe_names())


def test_published_row_is_the_default_of_the_package() -> None:
    config = load_config("coco/panoptic/r50")
    backbone = {"backbone": config.model.backbone}  # of the same shape, with ImageNet's features
    assert config.model == Config().model.model_copy(update=backbone)
    assert config.loss == Config().loss
    assert config.train.schedule.kind == "step"
    assert config.test.task == "panoptic"


def test_another_kind_replaces_the_branch() -> None:
    backbone = load_config("coco/panoptic/swin_t").model.backbone
    assert backbone == SwinBackbone(weights="timm/swin_tiny_patch4_window7_224.ms_in1k")
    crop = load_config("tiny/camvid").data.augmentation
    assert isinstance(crop, ResizeAndCrop)


PRESETS = {
    "r50": "resnet50.tv_in1k",
    "r101": "resnet101.tv_in1k",
    "swin_t": (96, 6, 3, 7),
    "swin_s": (96, 18, 3, 7),
    "swin_b": (128, 18, 4, 12),
    "swin_b_22k": (128, 18, 4, 12),
    "swin_l": (192, 18, 6, 12),
}


@pytest.mark.parametrize("before", PRESETS)
@pytest.mark.parametrize("word", PRESETS)
def test_word_names_a_whole_backbone(word: str, before: str) -> None:
    recipe = f"coco/panoptic/{before}"
    backbone = load_config(recipe, [f"model.backbone={word}"]).model.backbone
    assert backbone == load_config(f"coco/panoptic/{word}").model.backbone
    match backbone:
        case TimmBackbone():
            assert backbone.name == PRESETS[word]
            assert backbone.weights == "timm"
        case SwinBackbone():
            size = backbone.embed_dim, backbone.depths[2], backbone.heads[0], backbone.window
            assert size == PRESETS[word]
            assert str(backbone.weights).endswith("ms_in22k") == (word in ("swin_b_22k", "swin_l"))


def test_key_of_a_named_backbone_can_be_overridden_in_any_order() -> None:
    words = ["model.backbone=swin_b", "model.backbone.weights=mine.pth"]
    for overrides in (words, words[::-1]):
        backbone = load_config("nuclei", overrides).model.backbone
        assert isinstance(backbone, SwinBackbone)
        assert (backbone.embed_dim, backbone.weights) == (128, "mine.pth")


def test_word_reaches_a_resolved_tree_and_a_recipe_file(tmp_path: Path) -> None:
    expected = load_config("coco/panoptic/swin_l").model.backbone
    resolved = override_config(load_config("nuclei"), ["model={backbone: swin_l}"])
    assert resolved.model.backbone == expected
    text = "extends: nuclei\nmodel: {backbone: swin_l}"
    assert load_config(write(tmp_path, "mine.yaml", text)).model.backbone == expected


def test_word_keeps_what_it_does_not_say_of_the_same_kind() -> None:
    backbone = load_config("cityscapes/panoptic/r50", ["model.backbone=r101"]).model.backbone
    assert isinstance(backbone, TimmBackbone)
    assert backbone.norm == "trainable"


def test_sampled_queries_cannot_be_counted() -> None:
    with pytest.raises(ValueError, match=r"num_queries=50 says nothing .* leave it at 100"):
        load_config("nuclei", ["model.transformer_decoder.num_queries=50"])
    stored = dump_config(load_config("nuclei"))
    assert parse_config(stored, "a stored tree") == load_config("nuclei")


def test_attention_needs_layers() -> None:
    decoder = "model.transformer_decoder"
    with pytest.raises(ValueError, match=r"attention=smca says nothing in a decoder of 0 layers"):
        load_config("nuclei", [f"{decoder}.layers=0", f"{decoder}.attention=smca"])
    load_config("nuclei", [f"{decoder}.layers=0"])


def test_mappings_that_are_values_are_replaced_and_cleared() -> None:
    config = load_config(
        "nuclei",
        [
            "data.merge={all: [a, b]}",
            "data.colors={a: [1, 2, 3]}",
            "loss.class_weights={a: 2}",
            "test.tta={scales: [1], flips: none}",
        ],
    )
    changed = override_config(
        config, ["data.merge={}", "data.colors={b: [0, 0, 0]}", "test.tta={}"]
    )
    assert changed.data.merge == {}
    assert changed.data.colors == {"b": (0, 0, 0)}
    assert changed.loss.class_weights == {"a": 2}
    assert changed.test.tta == Tta(), "the paper's views, as a branch without keys is"
    kept = override_config(config, ["test.tta.flips=horizontal"]).test.tta
    assert kept == Tta(scales=(1,))


def test_the_same_kind_is_merged() -> None:
    instance, panoptic = load_config("coco/instance/r50"), load_config("coco/panoptic/r50")
    assert instance.data.train.images == panoptic.data.train.images
    assert instance.data.train.annotations != panoptic.data.train.annotations


def test_extends_reaches_a_file_that_reaches_a_bundled_recipe(tmp_path: Path) -> None:
    base = write(tmp_path, "base.yaml", "extends: tiny/shapes\ntrain: {steps: 7}")
    config = load_config(write(tmp_path, "top.yaml", f"extends: {base}\ntest: {{task: semantic}}"))
    assert config.train.steps == 7
    assert config.test.task == "semantic"
    assert config.train.batch_size == load_config("tiny/shapes").train.batch_size


def test_extends_finds_a_neighbour_of_the_file(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", "train: {steps: 7}")
    assert load_config(write(tmp_path, "top.yaml", "extends: base.yaml")).train.steps == 7


def test_a_circle_of_extends_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "extends: b.yaml")
    with pytest.raises(ValueError, match="circle"):
        load_config(write(tmp_path, "b.yaml", "extends: a.yaml"))


def test_overrides_reach_leaves_with_the_types_of_yaml() -> None:
    config = load_config(
        "tiny/shapes",
        [
            "train.steps=12",
            "train.learning_rate=0.001",
            "data.root=/data/my pictures",
            "data.fold=[1, 5]",
            "model.pixel_decoder={kind: fpn}",
            "data.augmentation={kind: fit, size: [64, 32]}",
        ],
    )
    assert config.train.steps == 12
    assert config.train.learning_rate == 0.001
    assert config.data.root == Path("/data/my pictures")
    assert config.data.fold == (1, 5)
    assert config.model.pixel_decoder == FPN()
    assert config.data.augmentation == Fit(size=(64, 32))


def test_override_of_a_resolved_tree_leaves_the_rest() -> None:
    config = load_config("tiny/shapes")
    changed = override_config(config, ["model.backbone.name=resnet18"])
    assert isinstance(changed.model.backbone, TimmBackbone)
    assert changed.model.backbone.name == "resnet18"
    assert changed.train == config.train
    assert override_config(config, []) is config


def test_exponents_without_a_point_are_numbers() -> None:
    assert load_config("tiny/shapes", ["train.learning_rate=1e-3"]).train.learning_rate == 0.001


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("train.setps=3", r"unknown setting 'train\.setps'; did you mean 'steps'\?"),
        ("modle.dim=3", r"unknown setting 'modle'; did you mean 'model'\?"),
        ("model.backbone.nmae=x", r"unknown setting .*nmae'; did you mean 'name'\?"),
        ("train.steps=many", r"train\.steps: .*integer"),
        ("train.steps=0", r"train\.steps: .*greater than or equal to 1"),
        ("train.log_every=0", r"train\.log_every: "),
        ("train.save_every=0", r"train\.save_every: "),
        ("train.evaluate_every=0", r"train\.evaluate_every: "),
        ("train.steps", "'train.steps' is no setting; write key=value"),
        ("train.batch_size.more=1", r"train\.batch_size: .*integer"),
        ("test.task.more=1", r"test\.task: .*'semantic', 'instance' or 'panoptic'"),
        ("model.backbone=swin", r"^model\.backbone: no preset is called 'swin'; did .* 'swin_t'\?"),
        ("model.backbone=resnet50", r"there are r50, r101, .*swin_l, and model\.backbone\.name"),
        ("model.transformer_decoder.queries={spacing: 8, count: 3}", r"queries\.count"),
        ("model.backbone=null", r"model\.backbone: None is no branch of settings"),
        ("data.train=images", r"data\.train: 'images' is no branch of settings"),
        ("train.clip=0", r"train\.clip: .*greater than 0"),
        ("data.augmentation.scale=big", r"^\S+: data\.augmentation\.scale: "),
        ("data.augmentation.kind=fit", r"^\S+: data\.augmentation\.size: Field required"),
        ("data.augmentation.crop=[8, 8]", r"unknown setting 'data\.augmentation\.crop'$"),
        ("model.transformer_decoder.queries={spacing: 0}", r"decoder\.queries\.spacing: .*than 0"),
        ("model.transformer_decoder.queries=many", r"decoder\.queries: .*'learnable' or 'zero'"),
        ("test.task=depth", r"test\.task: .*'semantic', 'instance' or 'panoptic'"),
        ("model.pixel_decoder.kind=unet", r"no kind 'unet'; choose 'msdeformattn', 'fpn', 'sem.*'"),
        ("model.pixel_decoder={kind: fpn, layers: 3}", r"unknown setting .*layers'"),
        ("model.pixel_decoder={kind: bifpn, layers: 0}", r"layers: .*greater than or equal to 1"),
        (
            "model.pixel_decoder={kind: semantic_fpn, channels: 0}",
            r"channels: .*than or equal to 1",
        ),
        ("model.pixel_decoder={kind: fapn, groups: 7}", r"dim=256 cannot be divided into the 7 gr"),
        ("model.transformer_decoder.attention=soft", r"attention: .*'smca' or 'mask_pooling'"),
        ("train.accumulation=3", "cannot be cut into"),
        ("data.offset=x", r"data\.offset: .*integer"),
        ("data.endings=[a]", r"data\.endings"),
        ("data.format=vox", r"data\.format: .*'label_maps', 'object_maps', 'voc'"),
        ("model.std=[0, 0, 0]", r"model\.std\.0: .*greater than 0"),
        ("loss.no_object_weight=-1", r"loss\.no_object_weight: .*greater than or equal to 0"),
        ("data.augmentation.scale=[2, 0.1]", r"scale=\[2\.0, 0\.1\] must be \[smallest, largest\]"),
        ("train.learning_rate=-1", r"train\.learning_rate: .*greater than or equal to 0"),
        ("train.threads=0", r"train\.threads: .*greater than 0"),
        ("train.seed=-1", r"train\.seed: .*greater than or equal to 0"),
        ("train.schedule.milestones=[5]", r"train\.schedule\.milestones\.0: .*less than or equal"),
        ("train.schedule.warmup=-1", r"train\.schedule\.warmup: .*greater than or equal to 0"),
        ("test.threshold=7", r"test\.threshold: .*less than or equal to 1"),
        ("test.overlap_threshold=-1", r"test\.overlap_threshold: .*greater than or equal to 0"),
        ("test.tta={scales: [0]}", r"test\.tta\.scales\.0: .*greater than 0"),
        ("model.dim=100", r"model: dim=100 cannot be divided"),
        (
            "model={dim: 6, transformer_decoder: {heads: 2}, pixel_decoder: {kind: fpn}}",
            r"dim=6 must be a multiple of 4",
        ),
        ("model.value_range=[0, 4095]", r"value_range is for .*; set data\.channels"),
        ("model.transformer_decoder.levels=[]", r"levels: .* at least 1 item"),
        ("model.transformer_decoder.levels=[[8], []]", r"levels\.1: .* at least 1 item"),
        (
            "model.transformer_decoder.order=[cross, cross, ffn]",
            r"order=.* must name cross, self and ffn once each",
        ),
        ("data.fold=[5, 5]", r"data: .*fold"),
        ("train.steps=[", "the value is no YAML"),
    ],
)
def test_fault_is_one_sentence_with_the_key(override: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as fault:
        load_config("coco/panoptic/r50", [override])
    assert "\n" not in str(fault.value)


def test_suggestion_is_a_key_of_the_chosen_variant() -> None:
    with pytest.raises(ValueError, match=r"'data\.augmentation\.size'; did you mean 'max_size'"):
        load_config("tiny/camvid", ["data.augmentation.size=256"])


@pytest.mark.parametrize("resolved", [False, True])
@pytest.mark.parametrize(
    ("recipe", "overrides", "branch"),
    [
        ("nuclei", ["model.backbone.kind=swin"], SwinBackbone()),
        ("nuclei", ["model.backbone.window=8", "model.backbone.kind=swin"], SwinBackbone(window=8)),
        ("nuclei", ["model.pixel_decoder.kind=fpn"], FPN()),
        (
            "tiny/panoptic",
            ["data.augmentation.kind=fit", "data.augmentation.size=[256,256]"],
            Fit(size=(256, 256)),
        ),
    ],
)
def test_dotted_kind_replaces_the_branch(
    recipe: str, overrides: list[str], branch: Settings, resolved: bool
) -> None:
    if resolved:
        config = override_config(load_config(recipe), overrides)
    else:
        config = load_config(recipe, overrides)
    model = config.model
    assert branch in (model.backbone, model.pixel_decoder, config.data.augmentation)


def test_dotted_kind_of_the_default_variant_keeps_the_branch() -> None:
    config = load_config("nuclei", ["model.backbone.kind=timm"])
    assert config.model == load_config("nuclei").model


def test_kind_of_a_schedule_keeps_what_all_kinds_have() -> None:
    schedule = load_config("tiny/shapes", ["train.schedule.kind=step"]).train.schedule
    assert (schedule.kind, schedule.warmup) == ("step", 100)


def test_value_and_branch_of_one_key_are_refused() -> None:
    with pytest.raises(ValueError, match="'steps' is set to a value before"):
        load_config("tiny/shapes", ["train.steps=3", "train.steps.more=1"])


def test_clipping_can_be_switched_off() -> None:
    assert load_config("tiny/shapes", ["train.clip=null"]).train.clip is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("- a\n- b", "is a mapping"),
        ("just words", "is a mapping"),
        ("model: {backbone: swin_xl}", r"mine\.yaml: model\.backbone: no preset .*'swin_l'\?"),
        ("a: [1", "not a YAML file"),
        ("extends: tiny/shape", r"did you mean 'tiny/shapes'\?"),
        ("train: 5", r"train: "),
    ],
)
def test_broken_recipe_file_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        load_config(write(tmp_path, "mine.yaml", text))


def test_unknown_recipe_names_the_nearest_and_the_list() -> None:
    with pytest.raises(ValueError, match=r"did you mean 'nuclei'\?.*mask2former recipes"):
        load_config("nucleii")
    with pytest.raises(ValueError, match=r"no recipe file gone\.yaml"):
        load_config("gone.yaml")


def test_empty_recipe_is_the_default(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "empty.yaml", "")) == Config()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Config().train.steps = 3  # pyrefly: ignore[read-only]


def test_variant_without_a_kind_is_the_default_one() -> None:
    config = parse_config({"data": {"augmentation": {"size": 512}}}, "a test")
    assert config.data.augmentation == LargeScaleJitter(size=512)
