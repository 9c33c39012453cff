"""The loop learns, resumes exactly, cuts batches exactly, and stops before it does harm."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from mask2former.checkpoint import load_card, load_model
from mask2former.config import Config
from mask2former.engine.evaluate import Report
from mask2former.engine.learner import Learner
from mask2former.engine.predict import load
from mask2former.engine.stops import DivergedError
from mask2former.engine.train import Trainer, train
from mask2former.structures import Batch

CPU = torch.device("cpu")
Tiny = Callable[..., Config]


def silent(line: str) -> None:
    pass


def read_losses(folder: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "loss" in line]
    assert len(steps) == len(set(steps)), "a step was written twice"
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def assert_equal_weights(one: Path, other: Path, atol: float) -> None:
    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=atol, msg=name)


pytestmark = pytest.mark.usefixtures("undrawn")


class Killed(BaseException):
    """Stands for a power cut."""


def kill_at(step: int) -> Callable[[str], None]:
    def say(line: str) -> None:
        if line.startswith(f"step {step}/"):
            raise Killed

    return say


def poison(monkeypatch: pytest.MonkeyPatch, step: int, harm: Callable[[Trainer], None]) -> None:
    """Do `harm` to the run just before a step."""
    whole = Trainer.batches

    def batches(trainer: Trainer) -> Iterator[Batch]:
        for batch in whole(trainer):
            if trainer.progress.step + 1 == step:
                harm(trainer)
            yield batch

    monkeypatch.setattr(Trainer, "batches", batches)


@pytest.fixture(scope="module")
def run(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run of 30 steps on eight pictures."""
    folder = tmp_path_factory.mktemp("run") / "new" / "folder"
    config = tiny("train.steps=30", "train.evaluate_every=15", "train.save_every=10")
    return train(config, folder, device=CPU, say=silent)


def test_loss_falls_within_30_steps(run: Path) -> None:
    losses = list(read_losses(run).values())
    assert len(losses) == 30
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_run_folder_is_a_model_folder_with_its_figures(run: Path) -> None:
    card = load_card(run)
    assert card.categories.names == ["circle", "square", "triangle", "background"]
    assert set(card.metrics) == {"validation", "protocol", "step"}
    assert 0 <= card.metrics["validation"]["PQ"] <= 1
    result = load(run, device="cpu")(np.zeros((50, 60, 3), np.uint8))
    assert result.plain.ids.shape == (1, 50, 60)


def test_run_folder_has_curves_samples_log_and_events(run: Path) -> None:
    with Image.open(run / "results.png") as image:
        assert image.width > 500
    assert len(list((run / "samples").glob("*.png"))) == 4
    log = (run / "train.log").read_text().splitlines()
    assert log[0].startswith("warning: the backbone starts from random weights")
    assert log[1].startswith("8 training and 8 validation pictures, 4 classes")
    assert sum("validation: PQ" in line for line in log) == 2
    assert list(run.rglob("*tfevents*"))
    assert (run / "last").is_dir()
    assert [path.name for path in (run / "last").iterdir()] == ["state.pt"]


def test_best_model_is_the_one_kept(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    headlines = [0.3, 0.7, 0.5]
    seen: list[dict[str, torch.Tensor]] = []
    ask = Learner.weights

    def weights(learner: Learner) -> dict[str, torch.Tensor]:
        seen.append({name: weight.clone() for name, weight in ask(learner).items()})
        return seen[-1]

    def measure(*_: object, **__: object) -> Report:
        return Report({"PQ": headlines[len(seen) - 1]}, [], "by hand", 1, 0.0)

    monkeypatch.setattr(Learner, "weights", weights)
    monkeypatch.setattr("mask2former.engine.train.evaluate", measure)
    config = tiny("train.steps=3", "train.evaluate_every=1")
    folder = train(config, tmp_path, device=CPU, say=silent)
    best, card = load_model(folder)
    assert card.metrics == {"validation": {"PQ": 0.7}, "protocol": "by hand", "step": 2}
    assert all(torch.equal(weight, seen[1][name]) for name, weight in best.state_dict().items())


@pytest.mark.parametrize("workers", [0, 1])
def test_resumed_run_equals_the_uninterrupted_one(workers: int, tiny: Tiny, tmp_path: Path) -> None:
    # Dropout draws from the global generator: its state too must come back.
    config = tiny(f"data.workers={workers}", "model.transformer_decoder.dropout=0.2")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(config, whole, device=CPU, say=silent)
    with pytest.raises(Killed):
        train(config, parts, device=CPU, say=kill_at(6))
    assert list(read_losses(parts)) == [1, 2, 3, 4, 5]
    train(config, parts, device=CPU, resume=True, say=silent)
    assert read_losses(parts) == pytest.approx(read_losses(whole), rel=1e-5)
    assert list(read_losses(parts)) == [1, 2, 3, 4, 5, 6]
    assert_equal_weights(whole, parts, atol=1e-6)


def test_cut_batches_give_the_same_losses(tiny: Tiny, tmp_path: Path) -> None:
    batch = ("train.steps=3", "train.batch_size=4")
    for cut in (1, 2, 4):
        config = tiny(*batch, f"train.accumulation={cut}")
        train(config, tmp_path / str(cut), device=CPU, say=silent)
    whole = read_losses(tmp_path / "1")
    assert read_losses(tmp_path / "2") == pytest.approx(whole, rel=1e-4)
    assert read_losses(tmp_path / "4") == pytest.approx(whole, rel=1e-4)


def test_folder_with_a_run_is_refused(run: Path, tiny: Tiny) -> None:
    before = (run / "metrics.jsonl").read_bytes()
    with pytest.raises(ValueError, match="holds a run already; give --resume"):
        train(tiny(), run, device=CPU, say=silent)
    assert (run / "metrics.jsonl").read_bytes() == before


def test_resume_without_a_checkpoint_is_said(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no checkpoint to resume from"):
        train(tiny(), tmp_path, device=CPU, resume=True, say=silent)


def test_ended_run_stays_as_it_is(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny("train.steps=1"), tmp_path, device=CPU, say=silent)
    before = (tmp_path / "config.json").read_bytes()
    said: list[str] = []
    other = tiny("train.steps=1", "data.first=5")
    train(other, tmp_path, device=CPU, resume=True, say=said.append)
    assert (tmp_path / "config.json").read_bytes() == before
    assert said[-1].startswith("this run has ended, at step 1, and stays as it is")


def break_weights(trainer: Trainer) -> None:
    with torch.no_grad():
        trainer.learner.network.transformer_decoder.level_embed.weight.fill_(math.nan)


def break_gradients(trainer: Trainer) -> None:
    weight = trainer.learner.network.transformer_decoder.level_embed.weight
    weight.register_hook(lambda gradient: gradient * math.inf)


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (break_weights, "the matching costs .* are not finite"),
        (break_gradients, "gradient_norm not finite"),
    ],
)
def test_run_stops_before_harm_and_names_the_pictures(
    harm: Callable[[Trainer], None],
    what: str,
    tiny: Tiny,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny("train.evaluate_every=3")
    with monkeypatch.context() as patch:
        poison(patch, 5, harm)
        with pytest.raises(DivergedError, match=rf"step 5: {what}.*shapes/0/\d+\.png, shapes/0/"):
            train(config, tmp_path, device=CPU, say=silent)
    weights = load_model(tmp_path)[0].state_dict()
    assert all(torch.isfinite(weight).all() for weight in weights.values())
    train(config, tmp_path, device=CPU, resume=True, say=silent)
    assert all(math.isfinite(loss) for loss in read_losses(tmp_path).values())
    assert max(read_losses(tmp_path)) == 6


def test_terms_that_are_no_numbers_are_named(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(*_: object) -> dict[str, torch.Tensor]:
        return {
            "loss_ce": torch.tensor(1.0, requires_grad=True),
            "loss_dice_0": torch.tensor(math.inf),
        }

    monkeypatch.setattr(Learner, "losses", spoiled)
    with pytest.raises(DivergedError, match=r"step 1: loss_dice_0.* not finite, with the pictures"):
        train(tiny(), tmp_path, device=CPU, say=silent)


def write_coco(folder: Path, annotations: list[dict]) -> list[str]:
    """Two pictures, of which the second bears no object; the settings that name them."""
    pictures = []
    for number in (1, 2):
        Image.new("RGB", (64, 64), (90 * number, 50, 50)).save(folder / f"{number}.png")
        pictures.append({"id": number, "file_name": f"{number}.png", "width": 64, "height": 64})
    document = {
        "images": pictures,
        "annotations": annotations,
        "categories": [{"id": 5, "name": "cell"}],
    }
    (folder / "cells.json").write_text(json.dumps(document))
    split = f"{{images: {folder}, annotations: {folder / 'cells.json'}}}"
    return [
        "data.format=coco",
        "data.fold=null",
        f"data.train={split}",
        f"data.val={split}",
        "test.task=instance",
    ]


CELL = {
    "id": 1,
    "image_id": 1,
    "category_id": 5,
    "segmentation": [[5, 5, 40, 5, 40, 40, 5, 40]],
    "area": 1225,
    "bbox": [5, 5, 35, 35],
    "iscrowd": 0,
}


@pytest.mark.parametrize("annotations", [[CELL], []], ids=["one", "none"])
def test_pictures_without_objects_train(
    annotations: list[dict], tiny: Tiny, tmp_path: Path
) -> None:
    data = write_coco(tmp_path, annotations)
    config = tiny(*data, "train.batch_size=1", "train.steps=4")
    folder = train(config, tmp_path / "run", device=CPU, say=silent)
    assert all(math.isfinite(loss) for loss in read_losses(folder).values())
    assert load_card(folder).categories.names == ["cell"]


def test_start_takes_over_what_fits_and_names_the_rest(
    run: Path, tiny: Tiny, tmp_path: Path
) -> None:
    said: list[str] = []
    config = tiny(*write_coco(tmp_path, [CELL]), "train.steps=1", "train.learning_rate=0")
    train(config, tmp_path / "run", device=CPU, start_from=str(run), say=said.append)
    old, new = (load_file(folder / "model.safetensors") for folder in (run, tmp_path / "run"))
    fresh = {name for name in new if old[name].shape != new[name].shape}
    assert len(fresh) == 2  # weight and bias of the class head: two outputs for five
    assert all(torch.equal(old[name], new[name]) for name in new.keys() - fresh)
    assert any(f"{len(new) - 2} of {len(new)} tensors taken over from {run}: " in s for s in said)
    assert any(s.startswith("taken over in part") and "class_head.bias" in s for s in said)
    no_object = "transformer_decoder.class_head.weight"
    assert torch.equal(old[no_object][-1], new[no_object][-1])


def test_reset_head_leaves_only_the_class_head_fresh(run: Path, tiny: Tiny, tmp_path: Path) -> None:
    said: list[str] = []
    config = tiny("train.steps=1", "train.learning_rate=0", "train.seed=9")
    kept = {"device": CPU, "say": said.append, "start_from": str(run)}
    train(config, tmp_path / "kept", **kept)
    train(config, tmp_path / "reset", **kept, reset_head=True)
    old, whole, reset = (
        load_file(folder / "model.safetensors")
        for folder in (run, tmp_path / "kept", tmp_path / "reset")
    )
    assert all(torch.equal(old[name], whole[name]) for name in old)
    fresh = {name for name in old if not torch.equal(old[name], reset[name])}
    assert fresh == {f"transformer_decoder.class_head.{part}" for part in ("weight", "bias")}
    assert any(line.startswith("fresh, ") and "class_head.bias" in line for line in said)
    with pytest.raises(ValueError, match="--reset-head leaves out a part of --from"):
        train(config, tmp_path / "alone", device=CPU, say=silent, reset_head=True)


def test_seed_fixes_the_run(run: Path, tiny: Tiny, tmp_path: Path) -> None:
    for seed in (0, 7):
        config = tiny("train.steps=1", f"train.seed={seed}")
        train(config, tmp_path / str(seed), device=CPU, say=silent)
    first = read_losses(run)[1]
    assert read_losses(tmp_path / "0") == {1: first}
    assert read_losses(tmp_path / "7") != {1: first}


def test_a_half_written_state_does_not_stop_the_next_save(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny("train.steps=2"), tmp_path, device=CPU, say=silent)
    halves: list[Path] = []
    save = torch.save

    def killed(document: object, path: Path) -> None:
        path.write_bytes(b"half")
        halves.append(path.rename(path.with_suffix(".kept")))  # `finally` would not run either
        raise Killed

    torch.save = killed
    try:
        with pytest.raises(Killed):
            train(tiny("train.steps=3"), tmp_path, device=CPU, say=silent, resume=True)
    finally:
        torch.save = save
    halves[0].rename(halves[0].with_suffix(".pt"))
    assert len(list((tmp_path / "last").iterdir())) == 2
    train(tiny("train.steps=4"), tmp_path, device=CPU, say=silent, resume=True)
    assert [path.name for path in (tmp_path / "last").iterdir()] == ["state.pt"]


def test_resuming_a_finished_run_keeps_the_figures_of_the_best_model(
    tiny: Tiny, tmp_path: Path
) -> None:
    train(tiny("train.steps=2"), tmp_path, device=CPU, say=silent)
    before = load_card(tmp_path).metrics
    assert before["validation"]
    train(tiny("train.steps=2"), tmp_path, device=CPU, say=silent, resume=True)
    assert str(load_card(tmp_path).metrics) == str(before)
