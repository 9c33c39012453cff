import math

import pytest
import torch

from mask2former.model.position import sine_position_2d, sine_position_3d


def test_position_2d_follows_the_formula():
    position = sine_position_2d(3, 5, 8)
    assert position.shape == (8, 3, 5)
    for y, x, pair in ((0, 0, 0), (2, 1, 1), (1, 4, 0)):
        for start, place, count in ((0, y, 3), (4, x, 5)):
            angle = (place + 1) / (count + 1e-6) * 2 * math.pi / 10000 ** (2 * pair / 4)
            sine, cosine = position[start + 2 * pair : start + 2 * pair + 2, y, x]
            assert sine == pytest.approx(math.sin(angle), abs=1e-6)
            assert cosine == pytest.approx(math.cos(angle), abs=1e-6)


def test_position_3d_adds_time_to_place():
    clip = sine_position_3d(4, 3, 5, 8)
    assert clip.shape == (4, 8, 3, 5)
    time = clip - sine_position_2d(3, 5, 8)
    assert torch.allclose(time, time[:, :, :1, :1].expand_as(time), atol=1e-6)
    angle = 2 / 4 * 2 * math.pi / 10000 ** (2 / 8)
    assert time[1, 2, 0, 0].item() == pytest.approx(math.sin(angle), abs=1e-5)


def test_position_of_one_frame_is_not_the_picture_position():
    assert not torch.allclose(sine_position_3d(1, 3, 5, 8)[0], sine_position_2d(3, 5, 8))


def test_position_stays_fp32_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        position = sine_position_2d(64, 64, 16)
    assert position.dtype == torch.float32
    assert torch.equal(position, sine_position_2d(64, 64, 16))
