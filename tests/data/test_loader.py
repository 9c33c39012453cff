"""The endless stream of batches: complete, resumable and the same for any number of workers."""

import subprocess
import sys
from itertools import islice

import numpy as np
import pytest
import torch

from mask2former.data import InfiniteSampler, Shapes, collate, large_scale_jitter, training_loader
from mask2former.structures import Batch, Sample


class Broken(Shapes):
    """A data set whose pictures cannot be read."""

    def __init__(self, kind: type[Exception], sentence: str) -> None:
        super().__init__(2)
        self.fault = kind, sentence

    def sample(self, index: int) -> Sample:
        kind, sentence = self.fault
        raise kind(sentence.format(file=self.file(index)))


def batches(count: int, *, start: int = 0, workers: int = 0, batch_size: int = 2) -> list[Batch]:
    loader = training_loader(
        Shapes(5, (40, 40)),
        large_scale_jitter(32),
        batch_size,
        seed=3,
        start=start,
        workers=workers,
    )
    return list(islice(loader, count))


def assert_equal(first: list[Batch], second: list[Batch]) -> None:
    assert [b.names for b in first] == [b.names for b in second]
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.images, b.images)
        for x, y in zip(a.targets, b.targets, strict=True):
            assert torch.equal(x.ids, y.ids)
            assert torch.equal(x.labels, y.labels)


def test_every_epoch_has_every_picture_once() -> None:
    draws = list(islice(InfiniteSampler(7, seed=0), 21))
    epochs = [[draw.index for draw in draws[n : n + 7]] for n in (0, 7, 14)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert [draw.position for draw in draws] == list(range(21))


def test_stream_resumes_where_it_stopped() -> None:
    whole = list(islice(InfiniteSampler(7, seed=5), 30))
    assert list(islice(InfiniteSampler(7, seed=5, start=10), 20)) == whole[10:]


def test_processes_share_the_stream() -> None:
    whole = list(islice(InfiniteSampler(7, seed=5), 30))
    parts = [islice(InfiniteSampler(7, seed=5, rank=r, world=3), 10) for r in range(3)]
    assert sorted(draw for part in parts for draw in part) == whole


def test_empty_training_set_is_refused() -> None:
    with pytest.raises(ValueError, match="no picture"):
        InfiniteSampler(0, seed=0)


def test_batches_resume_identically() -> None:
    assert_equal(batches(5)[3:], batches(2, start=6))


def test_batches_do_not_depend_on_workers() -> None:
    assert_equal(batches(3), batches(3, workers=2))


def test_loading_leaves_the_global_draws_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    loader = training_loader(Shapes(5, (40, 40)), large_scale_jitter(32), 2, seed=3)
    stream = iter(loader)  # torch draws its workers' base seed here
    torch.manual_seed(0)
    next(stream)
    assert torch.equal(torch.rand(3), expected)


def test_batch_is_stacked_and_padded_to_the_stride() -> None:
    small, large = Shapes(1, (20, 70)).sample(0), Shapes(1, (40, 33)).sample(0)
    batch = collate([small, large])
    assert batch.images.shape == (2, 1, 3, 64, 96)
    assert batch.images.dtype == torch.uint8
    assert type(batch.images) is type(batch.targets[0].ids) is torch.Tensor
    assert torch.equal(batch.images[1, ..., :40, :33], large["image"].as_subclass(torch.Tensor))
    assert not batch.targets[0].ids[..., 20:, :].any()
    assert batch.names == [small["name"], large["name"]]


def test_batch_is_padded_with_the_colour_that_is_wanted() -> None:
    shapes = Shapes(2, (20, 70))
    loader = training_loader(shapes, lambda sample: sample, 2, seed=0, padding=(123.7, 116.3, 9))
    for batch in (next(loader), collate([shapes.sample(0)], (123.7, 116.3, 9))):
        for channel, value in enumerate((124, 116, 9)):
            assert (batch.images[:, :, channel, 20:] == value).all()
            assert (batch.images[:, :, channel, :, 70:] == value).all()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("kind", "said"), [(ValueError, "{file}: is empty"), (OSError, "the disk is gone")]
)
def test_fault_in_reading_is_one_sentence_with_the_file(
    workers: int, kind: type[Exception], said: str
) -> None:
    broken = Broken(kind, said)
    loader = training_loader(broken, large_scale_jitter(32), 1, seed=0, workers=workers)
    with pytest.raises(ValueError, match=r"is empty|is gone") as caught:
        next(loader)
    sentence = said.removeprefix("{file}: ")
    assert str(caught.value) in {f"{broken.file(i)}: {sentence}" for i in range(2)}


def test_error_that_nobody_catches_ends_the_run_and_its_workers() -> None:
    script = (
        "from mask2former.data import Shapes, large_scale_jitter, training_loader as load\n"
        "batches = load(Shapes(5, (40, 40)), large_scale_jitter(32), 2, seed=0, workers=2)\n"
        "next(batches)\n"
        "raise ZeroDivisionError('a bug')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.endswith("ZeroDivisionError: a bug\n")


@pytest.mark.parametrize("workers", [0, 1])
def test_error_of_the_program_keeps_its_kind_and_names_the_file(workers: int) -> None:
    broken = Broken(ZeroDivisionError, "a bug")
    loader = training_loader(broken, large_scale_jitter(32), 1, seed=0, workers=workers)
    with pytest.raises(ZeroDivisionError, match="a bug") as caught:
        next(loader)
    notes = getattr(caught.value, "__notes__", [])
    assert "while reading shapes/0/" in "".join([str(caught.value), *notes])


def pasting_batches(count: int, *, chance: float, start: int = 0, workers: int = 0) -> list[Batch]:
    shapes, transform = Shapes(5, (40, 40)), large_scale_jitter(32, (1, 1))
    loader = training_loader(
        shapes, transform, 2, seed=3, start=start, workers=workers, paste_chance=chance
    )
    return list(islice(loader, count))


def test_pasting_is_resumed_and_the_same_for_any_number_of_workers() -> None:
    whole = pasting_batches(6, chance=0.7)
    assert_equal(whole[2:], pasting_batches(4, chance=0.7, start=4, workers=2))


def test_pasting_comes_as_often_as_its_chance_and_leaves_the_rest() -> None:
    plain, pasted = (pasting_batches(60, chance=chance) for chance in (0.0, 0.25))
    changed = [
        not torch.equal(p, q)
        for a, b in zip(plain, pasted, strict=True)
        for p, q in zip(a.images, b.images, strict=True)
    ]
    assert 0.1 < np.mean(changed) < 0.3  # some pasted pictures have no chosen region


def test_fault_in_the_pasted_picture_names_it() -> None:
    class HalfBroken(Shapes):
        def sample(self, index: int) -> Sample:
            if index == 1:
                raise ValueError(f"{self.file(index)}: is torn")
            return super().sample(index)

    shapes = HalfBroken(2, (40, 40))
    loader = training_loader(
        shapes, large_scale_jitter(32), 1, seed=0, repeats=np.array([1.0, 0.0]), paste_chance=1.0
    )
    with pytest.raises(ValueError, match="is torn") as caught:
        list(islice(loader, 20))
    assert str(caught.value) == f"{shapes.file(1)}: is torn"


def test_repeated_pictures_come_as_often_as_their_factors_say() -> None:
    repeats = np.array([1.0, 1.5, 2.25, 1.0, 3.0])
    total = 400 * repeats.sum()
    drawn = [draw.index for draw in islice(InfiniteSampler(5, seed=0, repeats=repeats), int(total))]
    counts = np.bincount(drawn, minlength=5)
    assert np.abs(counts - 400 * repeats).max() <= 2.25


def test_every_epoch_repeats_by_whole_numbers_around_the_factor() -> None:
    repeats = np.array([1.0, 1.5, 2.25, 1.0])
    sampler = InfiniteSampler(4, seed=2, repeats=repeats)
    for epoch in range(40):
        counts = np.bincount(sampler._shuffle(epoch), minlength=4)
        assert ((np.floor(repeats) <= counts) & (counts <= np.ceil(repeats))).all()


@pytest.mark.parametrize("start", [0, 1, 7, 13, 500])
def test_repeated_stream_resumes_and_is_shared(start: int) -> None:
    repeats = np.array([1.0, 1.5, 2.25, 1.0, 1.1])
    whole = list(islice(InfiniteSampler(5, seed=5, repeats=repeats), start + 30))
    resumed = InfiniteSampler(5, seed=5, start=start, repeats=repeats)
    assert list(islice(resumed, 30)) == whole[start:]
    parts = [
        islice(InfiniteSampler(5, seed=5, start=start, rank=r, world=3, repeats=repeats), 10)
        for r in range(3)
    ]
    assert sorted(draw for part in parts for draw in part) == whole[start:]


def test_factors_of_one_change_nothing() -> None:
    plain = list(islice(InfiniteSampler(7, seed=5, start=3), 40))
    assert list(islice(InfiniteSampler(7, seed=5, start=3, repeats=np.ones(7)), 40)) == plain
    expected = np.random.default_rng((5, 1)).permutation(7)  # of every run so far
    assert [draw.index for draw in plain if 7 <= draw.position < 14] == expected.tolist()
