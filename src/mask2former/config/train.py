"""The settings of the loss and of the training loop."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from mask2former.config.base import Settings, Share

Precision = Literal["fp32", "bf16", "fp16"]


class Loss(Settings):
    """Matching and supervision (section 3.3; table 5)."""

    class_weight: NonNegativeFloat = Field(2.0, description="of the classes' cross-entropy")
    mask_weight: NonNegativeFloat = Field(5.0, description="of the masks' binary cross-entropy")
    dice_weight: NonNegativeFloat = Field(5.0, description="of the masks' dice loss")
    no_object_weight: NonNegativeFloat = Field(
        0.1, description="of queries without an object, in the class loss"
    )
    class_weights: dict[str, NonNegativeFloat] | Literal["auto"] | None = Field(
        None,
        description="{name: weight} in the class loss, 1 for the others; 'auto': by the inverse "
        "root of their objects' counts",
    )
    mask_loss: Literal["cross_entropy", "focal"] = Field(
        "cross_entropy", description="what mask_weight weighs"
    )
    match_on: Literal["points", "pixels"] = Field(
        "points", description="where masks are compared to match them (table 5)"
    )
    supervise_on: Literal["uncertain_points", "random_points", "pixels"] = Field(
        "uncertain_points", description="where masks are taught (table 5)"
    )
    num_points: int = Field(12544, ge=1, description="of a mask, in matching and in the loss")
    supervise_queries: bool = Field(
        default=True, description="whether the queries are taught before the first layer too"
    )


class Schedule(Settings):
    """How the learning rate falls."""

    kind: Literal["step", "poly", "cosine"] = Field("poly", description="the curve")
    power: NonNegativeFloat = Field(0.9, description="of poly")
    # The official 327,778 and 355,092 of COCO's 368,750 steps (8/9 and 26/27, rounded there).
    milestones: tuple[Share, ...] = Field(
        (327_778 / 368_750, 355_092 / 368_750), description="of step, as parts of all steps"
    )
    factor: NonNegativeFloat = Field(0.1, description="of step: by how much the rate falls")
    warmup: NonNegativeInt = Field(0, description="steps in which the rate rises")


class Train(Settings):
    """The loop."""

    steps: int = Field(368_750, ge=1, description="of the optimiser")
    minutes: float | None = Field(
        None,
        gt=0,
        description="all must end within these, measuring included: steps, warm-up and the times "
        "of measuring and saving are set by how long the first steps take",
    )
    batch_size: int = Field(16, ge=1, description="pictures per optimiser step, over all processes")
    accumulation: int = Field(1, ge=1, description="micro-batches the batch is cut into")
    sharded: bool = Field(
        default=False,
        description="processes share weights and optimiser state out (FSDP) instead of copying",
    )
    gradient_checkpointing: bool = Field(
        default=False, description="compute blocks again in the backward pass: less memory, slower"
    )
    pilots: Share | None = Field(
        None,
        description="also teach queries that are shown the true masks, with this part of them "
        "wrong, as 0.2 (MP-Former); prediction stays as it is",
    )
    freeze: tuple[str, ...] = Field(
        (), description="what keeps its weights, by dotted names: backbone, pixel_decoder.layers.0"
    )
    learning_rate: NonNegativeFloat = Field(1e-4, description="of AdamW")
    backbone_factor: NonNegativeFloat = Field(
        0.1, description="what the backbone's learning rate is multiplied by"
    )
    weight_decay: NonNegativeFloat = Field(0.05, description="not of norms and embeddings")
    clip: float | None = Field(0.01, gt=0, description="largest norm of a gradient; null: any")
    schedule: Schedule = Field(Schedule(), description="how the learning rate falls")
    precision: Precision = Field("fp32", description="of the network; losses are always in fp32")
    ema: float | None = Field(
        None, gt=0, lt=1, description="measure and keep a moving average of the weights, as 0.999"
    )
    seed: NonNegativeInt = Field(0, description="of everything that is drawn at random")
    evaluate_every: int = Field(5000, ge=1, description="steps from one validation to the next")
    evaluate_on: int | None = Field(
        None, ge=1, description="so many validation pictures, spread evenly; null: all of them"
    )
    best_by: str | None = Field(None, description="the figure that tells the best model: AP50, ...")
    patience: int | None = Field(
        None, ge=1, description="stop after so many evaluations without a better model"
    )
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = Field(
        ("tensorboard",), description="what else draws the figures; each where it is installed"
    )
    save_every: int = Field(1000, ge=1, description="steps from one saved state to the next")
    log_every: int = Field(20, ge=1, description="steps from one line of figures to the next")
    threads: PositiveInt | None = Field(
        None, description="CPU threads of the network; null: all cores"
    )
