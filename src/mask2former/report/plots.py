"""Plots of an evaluation: confusions, curves of precision over recall, figures of classes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from mask2former.faults import shorten

MOST = 30
"""So many classes a plot shows."""
LABEL = 22
"""Letters of a class name in a plot."""


def as_picture(figure: Figure) -> Image.Image:
    """The drawn figure."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return Image.open(stream)


def draw_confusion(counts: np.ndarray, names: Sequence[str], unit: str) -> Image.Image:
    """Shares of each true class (rows) by what it was taken for; of many classes the most confused.

    `counts` are those of `metrics.Confusion`; the last row holds what was invented, in shares of
    all that was found of a class.
    """
    classes = len(names)
    wrong = counts - np.diag(counts.diagonal())
    trouble = (wrong.sum(axis=0) + wrong.sum(axis=1))[:classes]
    shown = np.sort(np.argsort(-trouble, kind="stable")[:MOST])
    places = [*shown, classes]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shares[classes] = counts[classes] / np.maximum(counts.sum(axis=0), 1)
    table = shares[np.ix_(places, places)]
    few = len(places) <= 15
    side = 3 + (0.55 if few else 0.4) * len(places)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(table, cmap="Blues", vmin=0, vmax=1)
    labels = [shorten(names[place], LABEL) for place in shown]
    axes.set_xticks(range(len(places)), [*labels, "missed"], rotation=90)
    axes.set_yticks(range(len(places)), [*labels, "nothing"])
    axes.set(xlabel="taken for", ylabel="true class")
    for row, column in zip(*np.nonzero(table >= 0.005), strict=True):
        text = f"{100 * table[row, column]:.0f}"
        if few and unit != "pixels":
            text += f"\n({counts[places[row], places[column]]})"
        color = "white" if table[row, column] > 0.5 else "black"
        axes.text(column, row, text, color=color, ha="center", va="center", fontsize=8)
    of_all = f" ({MOST} most confused of {classes} classes)" if classes > MOST else ""
    axes.set_title(f"percent of each row's {unit}{of_all}", fontsize=11)
    return as_picture(figure)


def draw_curves(curves: Mapping[str, np.ndarray]) -> Image.Image:
    """Precision over recall at IoU 0.50: a line a class, of the best and worst ones, and all."""
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axes = figure.subplots()
    recall = np.linspace(0, 1, 101)
    ranked = sorted(curves.items(), key=lambda item: -item[1].mean())
    lines = ranked if len(ranked) <= 10 else [*ranked[:5], *ranked[-5:]]
    if len(curves) > 1:
        mean = np.mean(list(curves.values()), axis=0)
        axes.plot(recall, mean, color="black", lw=2.5, label=f"all {mean.mean():.2f}")
    for name, precision in lines:
        axes.plot(recall, precision, lw=1.2, label=f"{shorten(name, LABEL)} {precision.mean():.2f}")
    of_all = (
        f": the 5 best and 5 worst of {len(ranked)} classes" if len(lines) < len(ranked) else ""
    )
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.set_title(f"precision over recall at IoU 0.50{of_all}", fontsize=11)
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="AP50", frameon=False)
    return as_picture(figure)


def draw_classes(rows: Sequence[Mapping[str, Any]], measure: str) -> Image.Image:
    """A bar for every class that was measured, the best first; of many the best and the worst."""
    measured = [row for row in rows if not np.isnan(row[measure])]
    ranked = sorted(measured, key=lambda row: -row[measure])
    half = MOST // 2
    shown = ranked if len(ranked) <= MOST else [*ranked[:half], *ranked[-half:]]
    figure = Figure(figsize=(7.5, 1.2 + 0.26 * max(len(shown), 1)), layout="constrained")
    axes = figure.subplots()
    places = range(len(shown))
    bars = axes.barh(places, [row[measure] for row in shown], color="#2f6fde", height=0.75)
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=9)
    axes.set_yticks(places, [shorten(str(row["name"]), LABEL) for row in shown])
    axes.margins(y=0.01)
    axes.invert_yaxis()
    of_all = f": the best and worst of {len(ranked)} classes" if len(shown) < len(ranked) else ""
    axes.set(xlim=(0, 1.08))
    axes.set_title(f"{measure}{of_all}", fontsize=11)
    return as_picture(figure)
