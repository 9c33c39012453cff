import pytest
import torch

from mask2former.convert.huggingface import from_huggingface
from mask2former.convert.rows import Row, to_ours

DECODER = "model.transformer_module.decoder.layers.2.self_attn."


def test_row_renames_with_numbers_and_rest():
    row = Row("stages.{s}.layers.{b}.layer.{n}.{x}", "layer{s+1}.{b}.conv{n+1}.{x}")
    assert row.rename("stages.0.layers.12.layer.2.weight") == "layer1.12.conv3.weight"


def test_row_undoes_an_offset_in_their_name():
    assert Row("norms.stage{i+1}.{x}", "norm{i}.{x}").rename("norms.stage4.bias") == "norm3.bias"


def test_row_ignores_other_names():
    assert Row("layers.{i}.{x}", "{i}.{x}").rename("layers.one.weight") is None
    assert Row("a.weight", "b").rename("aXweight") is None


def test_tables_packs_thirds_in_order_whatever_the_order_of_the_file():
    tensors = {
        f"{DECODER}{third}_proj.weight": torch.full((2, 2), float(position))
        for position, third in ((1, "k"), (0, "q"), (2, "v"))
    }
    (packed,) = from_huggingface(tensors).items()
    assert packed[0] == "transformer_decoder.layers.2.self.attention.in_proj_weight"
    assert packed[1][:, 0].tolist() == [0, 0, 1, 1, 2, 2]


def test_tables_refuses_a_lost_third():
    tensors = {f"{DECODER}{third}_proj.bias": torch.zeros(2) for third in "qv"}
    with pytest.raises(ValueError, match="lacks the key projection"):
        from_huggingface(tensors)


def test_tables_refuses_a_doubled_third():
    encoder = "model.pixel_level_module.encoder.encoder.layers.0.blocks.0.attention."
    thirds = ("self.query", "self.key", "self.value", "q_proj")  # of two generations of files
    tensors = {f"{encoder}{third}.bias": torch.zeros(2) for third in thirds}
    with pytest.raises(ValueError, match=r"attn\.qkv\.bias' twice, also as .*"):
        from_huggingface(tensors)


def test_tables_names_what_it_does_not_know():
    tensors = {"model.pixel_level_module.encoder.cls_token": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"1 tensors of the Hugging Face weights.*cls_token"):
        from_huggingface(tensors)


def test_tables_drops_what_a_row_drops():
    assert to_ours({"a": torch.zeros(1)}, [Row("a", "", "drop")], source="a test") == {}


@pytest.mark.parametrize(
    "name",
    [
        "encoder.layers.1.blocks.0.attention.self.relative_position_bias_table",
        "swin.encoder.layers.1.blocks.0.attention.relative_position_bias.relative_position_bias_table",
        "model.encoder.layers.1.blocks.0.attention.self.relative_position_bias_table",
    ],
)
def test_swin_names_of_every_generation_are_read(name):
    tensors = {f"model.pixel_level_module.encoder.{name}": torch.zeros(169, 2)}
    expected = "backbone.layers.1.blocks.0.attn.relative_position_bias_table"
    assert list(from_huggingface(tensors)) == [expected]
