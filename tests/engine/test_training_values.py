"""Every value of training does what its description says."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from mask2former.build import build_model
from mask2former.checkpoint import load_card
from mask2former.config import Config, dump_config
from mask2former.engine import state
from mask2former.engine.average import Average
from mask2former.engine.blocks import checkpoint_gradients, find_blocks
from mask2former.engine.device import check_precision
from mask2former.engine.evaluate import Report
from mask2former.engine.start import freeze_idle
from mask2former.engine.train import Trainer, train
from mask2former.report.run_folder import RunFolder

CPU = torch.device("cpu")
Tiny = Callable[..., Config]


pytestmark = pytest.mark.usefixtures("undrawn")


def silent(line: str) -> None:
    pass


def read_losses(folder: Path) -> dict[int, float]:
    return {line["step"]: line["loss"] for line in RunFolder(folder).read() if "loss" in line}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_average_follows_slowly_and_copies_counters() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False), torch.nn.BatchNorm1d(1))
    torch.nn.init.zeros_(network[0].weight)
    average = Average(network, 0.5)
    torch.nn.init.ones_(network[0].weight)
    network[1].num_batches_tracked.fill_(7)
    average.update(network, step=0)  # the first steps count more: decay (1 + 0) / (10 + 0)
    assert average.tensors["0.weight"].item() == pytest.approx(0.9)
    average.update(network, step=1000)
    assert average.tensors["0.weight"].item() == pytest.approx(0.95)
    assert average.tensors["1.num_batches_tracked"].item() == 7


def test_average_is_what_is_kept_and_survives_a_resume(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny("train.ema=0.5", "train.steps=4")
    train(config, tmp_path / "whole", device=CPU, say=silent)
    _, stored = state.load(tmp_path / "whole")
    kept = weights(tmp_path / "whole")
    for name, tensor in stored["average"].items():
        torch.testing.assert_close(kept[name], tensor, msg=name)
    moved = [name for name in kept if not torch.equal(stored["network"][name], kept[name])]
    assert len(moved) > 50
    train(tiny("train.ema=0.5", "train.steps=4"), tmp_path / "parts", device=CPU, say=stop_at(3))
    train(config, tmp_path / "parts", device=CPU, say=silent, resume=True)
    for name, tensor in weights(tmp_path / "parts").items():
        torch.testing.assert_close(tensor, kept[name], rtol=0, atol=1e-6, msg=name)


def test_average_begins_where_a_run_without_one_has_come(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny("train.steps=2"), tmp_path, device=CPU, say=silent)
    train(tiny("train.steps=3", "train.ema=0.9"), tmp_path, device=CPU, say=silent, resume=True)
    assert state.load(tmp_path)[1]["average"] is not None


def test_pilots_teach_and_leave_no_trace_in_the_model(tiny: Tiny, tmp_path: Path) -> None:
    pilots = ("train.pilots=0.2", "train.accumulation=2")
    for name, settings in (("plain", ()), ("whole", pilots)):
        train(tiny("train.steps=4", *settings), tmp_path / name, device=CPU, say=silent)
    plain, whole = (read_losses(tmp_path / name) for name in ("plain", "whole"))
    assert whole[1] > 1.3 * plain[1], "the pilots' terms are part of the loss"
    assert weights(tmp_path / "whole").keys() == weights(tmp_path / "plain").keys()
    train(tiny("train.steps=4", *pilots), tmp_path / "parts", device=CPU, say=stop_at(2))
    train(tiny("train.steps=4", *pilots), tmp_path / "parts", device=CPU, say=silent, resume=True)
    assert read_losses(tmp_path / "parts")[4] == pytest.approx(whole[4], abs=1e-5)


def stop_at(step: int) -> Callable[[str], None]:
    """End the run, as a polite kill does, at the line of a step; the run saves before."""

    def say(line: str) -> None:
        if line.startswith(f"step {step}/"):
            signal.raise_signal(signal.SIGTERM)

    return say


@pytest.fixture(autouse=True)
def ends_are_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    """`train` ends with SystemExit when it is told to end: here that is part of the play."""
    whole = Trainer.run

    def run(trainer: Trainer) -> Path:
        try:
            return whole(trainer)
        except SystemExit as end:
            assert end.code == 143
            return trainer.folder.path

    monkeypatch.setattr(Trainer, "run", run)


def test_told_to_end_a_run_saves_first(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny("train.save_every=100"), tmp_path, device=CPU, say=stop_at(4))
    assert state.load(tmp_path)[0].step in (4, 5)
    assert (
        "told to end (SIGTERM), and saved: go on with --resume"
        in (tmp_path / "train.log").read_text()
    )
    train(tiny(), tmp_path, device=CPU, say=silent, resume=True)
    assert list(read_losses(tmp_path)) == [1, 2, 3, 4, 5, 6]


def test_told_to_end_at_its_last_step_a_run_is_measured_when_it_is_resumed(
    tiny: Tiny, tmp_path: Path
) -> None:
    config = tiny("train.steps=4")
    train(config, tmp_path, device=CPU, say=stop_at(4))
    assert state.load(tmp_path)[0].step == 4
    assert not (tmp_path / "model.safetensors").exists()
    train(config, tmp_path, device=CPU, say=silent, resume=True)
    assert load_card(tmp_path).metrics["step"] == 4
    assert weights(tmp_path)
    assert state.load(tmp_path)[0].measured == 4
    said: list[str] = []
    train(config, tmp_path, device=CPU, say=said.append, resume=True)
    assert not any("validation: " in line for line in said), "once is enough"


def test_told_to_end_while_it_measures_a_run_has_saved_and_measures_again(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny("train.save_every=100", "train.evaluate_every=2", "train.steps=3")
    train(config, tmp_path / "whole", device=CPU, say=silent)
    with monkeypatch.context() as patch:
        patch.setattr(
            "mask2former.engine.train.evaluate",
            lambda *_, show, **__: (signal.raise_signal(signal.SIGTERM), show(1)),
        )
        train(config, tmp_path / "parts", device=CPU, say=silent)
    progress, _ = state.load(tmp_path / "parts")
    assert (progress.step, progress.measured) == (2, 0)
    train(config, tmp_path / "parts", device=CPU, say=silent, resume=True)
    assert read_losses(tmp_path / "parts") == pytest.approx(read_losses(tmp_path / "whole"))
    lines = [RunFolder(tmp_path / name).read() for name in ("whole", "parts")]
    measured = [[line["step"] for line in read if "validation" in line] for read in lines]
    assert measured == [[2, 3], [2, 3]]


def test_long_run_is_closed_where_it_is(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny("train.steps=100"), tmp_path, device=CPU, say=stop_at(3))
    step = state.load(tmp_path)[0].step
    train(tiny(f"train.steps={step}"), tmp_path, device=CPU, say=silent, resume=True)
    assert load_card(tmp_path).metrics["step"] == step
    assert weights(tmp_path)


def test_pages_that_cannot_be_written_do_not_end_the_run(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(*_: object) -> None:
        raise OSError("samples/1.png: cannot be written")

    monkeypatch.setattr("mask2former.engine.train.draw_samples", draw)
    train(tiny("train.steps=2"), tmp_path, device=CPU, say=silent)
    assert weights(tmp_path)
    said = (tmp_path / "train.log").read_text()
    assert "warning: samples/1.png: cannot be written; the run goes on" in said


def test_resumed_run_keeps_its_classes(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny("train.steps=2"), tmp_path, device=CPU, say=silent)
    before = (tmp_path / "config.json").read_bytes()
    for merge, said in (
        ("{round: [circle]}", "4, or others; class 0 was 'circle' and now is 'round'"),
        ("{edged: [square, triangle]}", "3, or others; class 1 was 'square' and now is 'edged'"),
    ):
        config = tiny("train.steps=3", f"data.merge={merge}")
        with pytest.raises(ValueError, match=f"stored 4 classes, but the data has {said}"):
            train(config, tmp_path, device=CPU, say=silent, resume=True)
    assert (tmp_path / "config.json").read_bytes() == before


def test_gradient_checkpointing_changes_memory_and_not_the_losses(
    tiny: Tiny, tmp_path: Path
) -> None:
    values = ("train.steps=3", "model.transformer_decoder.dropout=0.3")
    for name, wanted in (("kept", "false"), ("again", "true")):
        config = tiny(*values, f"train.gradient_checkpointing={wanted}")
        train(config, tmp_path / name, device=CPU, say=silent)
    assert read_losses(tmp_path / "again") == pytest.approx(
        read_losses(tmp_path / "kept"), rel=1e-5
    )


def test_gradient_checkpointing_keeps_less_for_the_backward_pass(tiny: Tiny) -> None:
    config = tiny("model.backbone.name=resnet18", "model.backbone.norm=frozen")
    kept = {}
    for again in (False, True):
        torch.manual_seed(0)
        network = build_model(config.model, 3).train()
        if again:
            checkpoint_gradients(find_blocks(network))
        sizes: list[int] = []
        weights = {p.data_ptr() for p in network.parameters()}

        def pack(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            if tensor.data_ptr() not in weights:  # noqa: B023
                sizes.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            network(torch.zeros(1, 3, 128, 128))
        kept[again] = sum(sizes)
    assert kept[True] < 0.6 * kept[False]


@pytest.mark.parametrize(
    ("backbone", "blocks"),
    [
        ({"name": "resnet50"}, 16),
        ({"name": "convnext_atto"}, 12),
        ({"name": "test_vit"}, 6),
        ({"kind": "swin"}, 12),
        ({"name": "tf_efficientnet_lite0"}, 16),
    ],
    ids=str,
)
def test_blocks_are_the_repeated_parts(tiny: Tiny, backbone: dict, blocks: int) -> None:
    model = tiny().model.model_dump() | {"backbone": backbone}
    with torch.device("meta"):
        network = build_model(type(tiny().model).model_validate(model), 3)
    found = find_blocks(network.backbone)
    assert len(found) == blocks
    assert {type(block).__name__ for block in find_blocks(network.transformer_decoder)} == {
        "DecoderLayer"
    }
    assert len(set(map(id, find_blocks(network)))) == len(find_blocks(network))


def test_frozen_parts_keep_weights_and_statistics(tiny: Tiny, tmp_path: Path) -> None:
    said: list[str] = []
    config = tiny(
        "model.backbone.norm=trainable",
        "train.freeze=[backbone, pixel_decoder.layers.0]",
        "train.steps=3",
        "train.seed=5",
    )
    folder = train(config, tmp_path / "run", device=CPU, say=said.append)
    torch.manual_seed(5)
    fresh = build_model(config.model, 4).state_dict()
    trained = weights(folder)
    frozen = {n for n in fresh if n.startswith(("backbone.", "pixel_decoder.layers.0."))}
    assert {name for name in fresh if torch.equal(fresh[name], trained[name])} >= frozen
    learned = fresh.keys() - frozen
    assert sum(not torch.equal(fresh[name], trained[name]) for name in learned) > 0.9 * len(learned)
    assert any(re.search(r"parameters \(0\.\d M learn\)", line) for line in said)


@pytest.mark.parametrize(
    "settings",
    [
        ("model.pixel_decoder.kind=fapn", "model.transformer_decoder.levels=[[8]]"),
        ("model.pixel_decoder.kind=bifpn", "model.transformer_decoder.levels=[[8]]"),
        ("model.transformer_decoder.layers=0",),
        ("model.pixel_decoder.kind=fpn",),
    ],
    ids=["fapn at stride 8", "bifpn at stride 8", "no layers", "fpn"],
)
def test_what_no_prediction_hangs_on_rests(tiny: Tiny, settings: tuple[str, ...]) -> None:
    """DDP waits for the gradient of everything that learns."""
    network = build_model(tiny(*settings).model, 3)
    before = sum(parameter.requires_grad for parameter in network.parameters())
    freeze_idle(network.train())
    assert network.training
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    assert (len(learning) < before) == (settings[0] != "model.pixel_decoder.kind=fpn")
    predictions = network(torch.rand(2, 3, 64, 96) * 255)
    sum(part.sum() for prediction in predictions for part in prediction).backward()
    assert all(parameter.grad is not None for parameter in learning)


def test_freezing_what_is_not_there_suggests_what_is(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no part 'backbon'; did you mean 'backbone'"):
        train(tiny("train.freeze=[backbon]"), tmp_path / "1", device=CPU, say=silent)
    everything = "train.freeze=[backbone, pixel_decoder, transformer_decoder]"
    with pytest.raises(ValueError, match="nothing that learns"):
        train(tiny(everything), tmp_path / "2", device=CPU, say=silent)


@pytest.mark.parametrize(("best_by", "kept"), [("null", 1), ("SQ", 3)])
def test_best_model_is_told_by_the_figure_asked_for(
    best_by: str, kept: int, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = iter([{"PQ": 0.5, "SQ": 0.1}, {"PQ": 0.4, "SQ": 0.2}, {"PQ": 0.3, "SQ": 0.3}])
    monkeypatch.setattr(
        "mask2former.engine.train.evaluate",
        lambda *_, **__: Report(next(figures), [], "by hand", 1, 0.0),
    )
    config = tiny("train.steps=3", "train.evaluate_every=1", f"train.best_by={best_by}")
    assert load_card(train(config, tmp_path, device=CPU, say=silent)).metrics["step"] == kept


def test_best_by_must_be_measured(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"best_by=AP50 is not measured; choose of PQ, "):
        train(tiny("train.best_by=AP50"), tmp_path, device=CPU, say=silent)


def test_run_stops_when_patience_ends_and_stays_stopped(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = iter([0.5, 0.6, 0.4, 0.3, 0.2, 0.1])
    monkeypatch.setattr(
        "mask2former.engine.train.evaluate",
        lambda *_, **__: Report({"PQ": next(figures)}, [], "by hand", 1, 0.0),
    )
    config = tiny("train.steps=6", "train.evaluate_every=1", "train.patience=2")
    train(config, tmp_path, device=CPU, say=silent)
    assert list(read_losses(tmp_path)) == [1, 2, 3, 4]
    assert load_card(tmp_path).metrics["step"] == 2
    assert "stopped: 2 evaluations without a better model" in (tmp_path / "train.log").read_text()
    train(config, tmp_path, device=CPU, say=silent, resume=True)
    assert list(read_losses(tmp_path)) == [1, 2, 3, 4]


def test_bf16_trains_near_fp32_and_says_what_it_costs(tiny: Tiny, tmp_path: Path) -> None:
    said: list[str] = []
    for precision in ("fp32", "bf16"):
        config = tiny("train.steps=3", f"train.precision={precision}")
        train(config, tmp_path / precision, device=CPU, say=said.append)
    assert read_losses(tmp_path / "bf16") == pytest.approx(read_losses(tmp_path / "fp32"), rel=0.05)
    assert read_losses(tmp_path / "bf16") != read_losses(tmp_path / "fp32")
    assert sum("bf16 is slower than fp32 on most CPUs" in line for line in said) == 1
    assert all(tensor.dtype != torch.bfloat16 for tensor in weights(tmp_path / "bf16").values())


@pytest.mark.parametrize(
    ("precision", "device"), [("fp16", "cpu"), ("fp16", "mps"), ("bf16", "mps")]
)
def test_precisions_that_do_harm_are_refused(precision: str, device: str) -> None:
    with pytest.raises(ValueError, match=rf"train.precision={precision}: .*take .*=fp32"):
        check_precision(precision, torch.device(device))  # pyrefly: ignore[bad-argument-type]


def test_without_a_validation_set_the_last_weights_are_kept(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mask2former.engine import train as room

    def split(*arguments: object) -> tuple:
        whole, _ = demand_trainable(*arguments)
        return whole, whole.select([])

    demand_trainable = room.demand_trainable
    monkeypatch.setattr(room, "demand_trainable", split)
    folder = train(tiny("train.steps=3"), tmp_path, device=CPU, say=silent)
    _, stored = state.load(folder)
    assert all(torch.equal(t, stored["network"][name]) for name, t in weights(folder).items())


def test_best_model_is_what_was_learnt_to_the_bit(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny("train.steps=2", "model.backbone.norm=trainable")
    train(config, tmp_path, device=CPU, say=silent)
    network = state.load(tmp_path)[1]["network"]
    assert all(torch.equal(network[name], t) for name, t in weights(tmp_path).items())


def test_checkpointed_batch_norms_count_a_batch_once(tiny: Tiny, tmp_path: Path) -> None:
    kept = []
    for again in ("false", "true"):
        config = tiny(
            "train.steps=2",
            "model.backbone.norm=trainable",
            f"train.gradient_checkpointing={again}",
        )
        train(config, tmp_path / again, device=CPU, say=silent)
        kept.append(weights(tmp_path / again))
    statistics = [name for name in kept[0] if "running_" in name or "num_batches" in name]
    assert statistics
    for name in statistics:
        torch.testing.assert_close(kept[1][name], kept[0][name], rtol=1e-4, atol=1e-5, msg=name)


def test_resumed_run_takes_new_values_and_keeps_network_and_task(
    tiny: Tiny, tmp_path: Path
) -> None:
    train(tiny("train.steps=2", "train.freeze=[backbone]"), tmp_path, device=CPU, say=silent)
    for changed in ("model.transformer_decoder.num_queries=9", "test.task=semantic"):
        with pytest.raises(ValueError, match=r"--resume goes on with the stored model.* and"):
            train(tiny("train.steps=3", changed), tmp_path, device=CPU, say=silent, resume=True)
    before = weights(tmp_path)
    values = ("train.steps=4", "train.weight_decay=0.5", "train.best_by=SQ")
    train(tiny(*values), tmp_path, device=CPU, say=silent, resume=True)
    progress, stored = state.load(tmp_path)
    assert {group["weight_decay"] for group in stored["optimizer"]["param_groups"]} == {0.0, 0.5}
    assert progress.best_by == "SQ"
    assert load_card(tmp_path).metrics["step"] == 4
    learned = [n for n in before if not torch.equal(before[n], stored["network"][n])]
    assert any(name.startswith("backbone.") for name in learned), "it is frozen no more"


def test_model_folder_is_no_place_for_a_run(tiny: Tiny, tmp_path: Path) -> None:
    folder = train(tiny("train.steps=1"), tmp_path / "run", device=CPU, say=silent)
    (folder / "last" / "state.pt").unlink()
    before = (folder / "config.json").read_bytes()
    with pytest.raises(ValueError, match="holds a model, which would be lost"):
        train(tiny("train.steps=1", "model.dim=64"), folder, device=CPU, say=silent)
    assert (folder / "config.json").read_bytes() == before


def test_politely_killed_group_saves_with_its_workers(tiny: Tiny, tmp_path: Path) -> None:
    recipe, folder = tmp_path / "recipe.yaml", tmp_path / "run"
    config = tiny("train.steps=4000", "train.save_every=4000", "data.workers=2")
    recipe.write_text(yaml.safe_dump(dump_config(config)))
    command = ["-m", "mask2former", "train", str(recipe), "--output", str(folder)]
    process = subprocess.Popen(
        [sys.executable, *command, "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    while not process.stdout.readline().startswith("step 3/"):
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 143, err[-2000:]
    assert "told to end (SIGTERM), and saved" in out
    assert "Traceback" not in err
    assert state.load(folder)[0].step >= 3


def test_two_runs_into_one_folder_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    begun, done = threading.Event(), threading.Event()

    def say(line: str) -> None:
        begun.set()
        done.wait(60)

    first = threading.Thread(
        target=train, args=(tiny("train.steps=1"), tmp_path), kwargs={"device": CPU, "say": say}
    )
    first.start()
    begun.wait(60)
    with pytest.raises(ValueError, match=r"another run is writing into .*; wait for it, or give"):
        train(tiny("train.steps=1"), tmp_path, device=CPU, say=silent)
    done.set()
    first.join()
    assert list(read_losses(tmp_path)) == [1]


def test_full_disk_ends_the_run_with_a_sentence_and_loses_nothing(
    tiny: Tiny, tmp_path: Path
) -> None:
    recipe, folder = tmp_path / "recipe.yaml", tmp_path / "run"
    recipe.write_text(yaml.safe_dump(dump_config(tiny("train.steps=4", "train.save_every=2"))))
    train(tiny("train.steps=4", "train.save_every=2"), folder, device=CPU, say=stop_at(2))
    saved = state.load(folder)[0].step
    # A limit on the size of files stands for the disk: small ones pass, the state does not.
    limited = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)); "
        "from mask2former.cli import main; main()"
    )
    command = ["train", str(recipe), "--output", str(folder), "--resume", "--device", "cpu"]
    ended = subprocess.run(
        [sys.executable, "-c", limited, *command], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 2, ended.stderr[-2000:]
    last = ended.stderr.strip().splitlines()[-1]
    assert re.match(r"mask2former: .*run.* cannot be written", last), last
    assert "Traceback" not in ended.stderr
    assert state.load(folder)[0].step == saved
    train(tiny("train.steps=4"), folder, device=CPU, say=silent, resume=True)
    assert list(read_losses(folder)) == [1, 2, 3, 4]


def test_unwritable_folder_is_said_before_anything_is_read(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match=r"run: no folder can be made there .*; name another"):
        train(tiny(), tmp_path / "file" / "run", device=CPU, say=silent)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"\x80\x04K\x01.", b"no weights"])
@pytest.mark.parametrize("backbone", [{"name": "resnet18"}, {"kind": "swin"}], ids=["timm", "swin"])
def test_damaged_backbone_weights_are_one_sentence(
    tiny: Tiny, tmp_path: Path, content: bytes, backbone: dict
) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    branch = json.dumps({**backbone, "weights": str(path)})
    config = tiny(f"model.backbone={branch}")
    with pytest.raises(ValueError, match=re.escape(str(path))):
        train(config, tmp_path / "run", device=CPU, say=silent)
