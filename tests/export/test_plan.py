"""Wishes that do not fit a model are one sentence each."""

import pytest

from mask2former.export.plan import make_plan


@pytest.mark.parametrize(
    ("form", "wishes", "sentence"),
    [
        ("tflite", {}, "--format tflite: choose openvino or onnx"),
        ("onnx", {"outputs": "all"}, "--outputs all: choose network or result"),
        ("onnx", {"half": True}, "--fp16 is for OpenVINO"),
        ("onnx", {"int8": True}, "--int8 is for OpenVINO"),
        ("openvino", {"int8": True, "half": True}, "--fp16 is part of --int8"),
        ("openvino", {"int8": True, "outputs": "result"}, "leave --outputs result out"),
        ("onnx", {"frames": 2}, "--frames is for video models"),
        ("onnx", {"size": (100, 64)}, "must be multiples of 32, as 128x64"),
    ],
)
def test_wish_that_does_not_fit_is_refused(form, wishes, sentence, build):
    _, card = build()
    with pytest.raises(ValueError, match=sentence):
        make_plan(card, form, **wishes)


def test_result_of_a_clip_is_refused(build):
    _, card = build(position="3d")
    with pytest.raises(ValueError, match="--outputs result is for picture models"):
        make_plan(card, "onnx", outputs="result")


def test_int8_of_a_video_model_is_refused(build):
    _, card = build(position="3d")
    with pytest.raises(ValueError, match="--int8 is for picture models; leave --int8 out"):
        make_plan(card, "openvino", int8=True)
