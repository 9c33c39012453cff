"""From samples to an endless, resumable stream of batches."""

from __future__ import annotations

import atexit
import signal
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import count
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from typing import NamedTuple

import numpy as np
import torch
from torch.utils import data

from mask2former.data.dataset import Dataset
from mask2former.data.pasting import paste
from mask2former.data.transforms import PADDING, PadRightBottom, Transform
from mask2former.faults import naming
from mask2former.structures import STRIDE, Batch, Sample, Targets


class Draw(NamedTuple):
    """One step of the stream: the position keys the random draws, the index names the picture."""

    position: int
    index: int


class InfiniteSampler(data.Sampler[Draw]):
    """Endless shuffled epochs, of which this process takes every `world`-th position.

    `start` positions were consumed before, by all processes together: the stream goes on as if it
    had never stopped. `repeats` tells how often each picture comes in an epoch, on average; a
    picture of 1.5 comes once and twice by turns.
    """

    def __init__(
        self,
        length: int,
        seed: int,
        start: int = 0,
        *,
        rank: int = 0,
        world: int = 1,
        repeats: np.ndarray | None = None,
    ) -> None:
        if length < 1:
            raise ValueError("the training set has no picture")
        self.repeats = np.ones(length) if repeats is None else repeats
        assert self.repeats.shape == (length,), self.repeats.shape
        # Where in its turns each picture begins, or all of 1.5 would come twice in one epoch.
        self.phases = np.random.default_rng((seed, 0, 1)).random(length)
        self.seed = seed
        self.first = start + rank
        self.world = world

    def __iter__(self) -> Iterator[Draw]:
        epoch = int(self.first / self.repeats.sum())
        while self._begin(epoch) > self.first:
            epoch -= 1
        begin, order = self._begin(epoch), self._shuffle(epoch)
        for position in count(self.first, self.world):
            while position >= begin + len(order):
                begin, epoch = begin + len(order), epoch + 1
                order = self._shuffle(epoch)
            yield Draw(position, int(order[position - begin]))

    def _drawn_before(self, epoch: int) -> np.ndarray:
        """How often each picture came before an epoch: its repeats, rounded as its phase tells."""
        return np.floor(epoch * self.repeats + self.phases).astype(int)

    def _begin(self, epoch: int) -> int:
        """The first position of an epoch."""
        return int(self._drawn_before(epoch).sum())

    def _shuffle(self, epoch: int) -> np.ndarray:
        times = self._drawn_before(epoch + 1) - self._drawn_before(epoch)
        pictures = np.repeat(np.arange(len(times)), times)
        return np.random.default_rng((self.seed, epoch)).permutation(pictures)


class Fault(NamedTuple):
    """What a reader could not read. It travels as a value: an exception that leaves a worker comes
    with the worker's traceback as its text."""

    sentence: str


class _Drawn(data.Dataset[Sample | Fault]):
    """A data set read by `Draw`: the transform's random draws are a function of seed and position,
    so that neither the number of workers nor a resumed run changes them."""

    def __init__(
        self,
        dataset: Dataset,
        transform: Transform,
        seed: int,
        *,
        paste_chance: float,
        single: Collection[int],
    ) -> None:
        self.dataset = dataset
        self.transform = transform
        self.seed = seed
        self.paste_chance = paste_chance
        self.single = single

    def __getitem__(self, index: Draw) -> Sample | Fault:
        position, picture = index
        key = np.random.SeedSequence((self.seed, position)).generate_state(1, np.uint64)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(key[0]))
            sample = self._read(picture)
            if isinstance(sample, Fault) or torch.rand(()) >= self.paste_chance:
                return sample
            other = self._read(int(torch.randint(len(self.dataset), ())))
            return other if isinstance(other, Fault) else paste(sample, other, self.single)

    def _read(self, picture: int) -> Sample | Fault:
        try:
            return self.transform(self.dataset.sample(picture))
        except (ValueError, OSError) as error:
            return Fault(naming(self.dataset.file(picture), str(error)))
        except Exception as error:
            error.add_note(f"while reading {self.dataset.file(picture)}")
            raise


def collate(samples: list[Sample], padding: Sequence[float] = (PADDING,)) -> Batch:
    """Stack samples; smaller ones are padded to the largest, in multiples of 32, with a colour."""
    height, width = (
        -max(-(-sample["image"].shape[axis] // STRIDE) for sample in samples) * -STRIDE
        for axis in (-2, -1)
    )
    padded = [PadRightBottom((height, width), padding)(sample) for sample in samples]
    return Batch(
        images=torch.stack([sample["image"].as_subclass(torch.Tensor) for sample in padded]),
        targets=[
            Targets(sample["ids"].as_subclass(torch.Tensor), sample["labels"]) for sample in padded
        ],
        names=[sample["name"] for sample in padded],
    )


def _collate_or_tell(samples: list[Sample | Fault], padding: Sequence[float]) -> Batch | Fault:
    read: list[Sample] = []
    for sample in samples:
        if isinstance(sample, Fault):
            return sample
        read.append(sample)
    return collate(read, padding)


def _without_faults(loader: Iterable[Batch | Fault]) -> Iterator[Batch]:
    others = set(active_children())
    batches = iter(loader)
    # Called before multiprocessing's own, which was registered earlier.
    atexit.register(_kill, [worker for worker in active_children() if worker not in others])
    for batch in batches:
        if isinstance(batch, Fault):
            raise ValueError(batch.sentence)
        yield batch


def _leave_ending_to_the_run(worker: int) -> None:
    """A polite kill of the whole group is for the run, which saves and then ends its workers."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _kill(workers: Sequence[BaseProcess]) -> None:
    """At the exit of the interpreter, where multiprocessing would ask politely and wait for ever:
    workers live until then if an error that nobody caught holds their loader."""
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's complains of killed workers
    for worker in workers:
        worker.kill()


def training_loader(
    dataset: Dataset,
    transform: Transform,
    batch_size: int,
    *,
    seed: int,
    start: int = 0,
    workers: int = 0,
    rank: int = 0,
    world: int = 1,
    padding: Sequence[float] = (PADDING,),
    repeats: np.ndarray | None = None,
    paste_chance: float = 0.0,
    single: Collection[int] = (),
) -> Iterator[Batch]:
    """Load `batch_size` pictures a process, without end; the first `start` were seen before.

    With `paste_chance` a picture gets regions of a random other one; of the labels in `single` it
    keeps one region.
    What differs in size within a batch is padded with the colour `padding`: the model's mean,
    rounded to what 8 bits hold (the official code pads whole frames after normalising).
    Raises ValueError with the reader's own sentence where a picture cannot be read.
    """
    loader = data.DataLoader(
        _Drawn(dataset, transform, seed, paste_chance=paste_chance, single=single),
        batch_size=batch_size,
        sampler=InfiniteSampler(len(dataset), seed, start, rank=rank, world=world, repeats=repeats),
        num_workers=workers,
        collate_fn=partial(_collate_or_tell, padding=padding),
        # Its own, or each start of the loader would draw from the global one that dropout uses,
        # and a resumed run would go on with other numbers.
        generator=torch.Generator(),
        worker_init_fn=_leave_ending_to_the_run,
        pin_memory=torch.cuda.is_available(),
    )
    return _without_faults(loader)
