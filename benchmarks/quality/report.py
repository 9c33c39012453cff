"""The table of a CSV that `run.py` wrote: means and spreads over seeds.

python benchmarks/quality/report.py docs/quality.csv
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev


def table(path: Path) -> str:
    """A Markdown table, the best of each recipe first."""
    groups: dict[tuple[str, str, str, str], list[dict[str, str]]] = defaultdict(list)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            more = [word for word in row["settings"].split() if not word.startswith("data.")]
            name = ", ".join([row["contender"], *more])
            key = (row["recipe"], row["measure"], name, row["minutes"])
            groups[key].append(row)
    lines = ["| recipe | network | minutes | steps | result | seeds |", "| --- " * 6 + "|"]
    ranked = sorted(groups.items(), key=lambda item: (item[0][0], -value_of(item[1])))
    for (recipe, measure, contender, minutes), rows in ranked:
        spread = f" ± {stdev(float(r['value']) for r in rows):.3f}" if len(rows) > 1 else ""
        result = f"{measure} {value_of(rows):.3f}{spread}"
        steps = round(mean(int(row["steps"]) for row in rows))
        seeds = ", ".join(row["seed"] for row in rows)
        lines.append(f"| `{recipe}` | {contender} | {minutes} | {steps} | {result} | {seeds} |")
    return "\n".join(lines)


def value_of(rows: list[dict[str, str]]) -> float:
    """The mean result of some seeds."""
    return mean(float(row["value"]) for row in rows)


if __name__ == "__main__":
    print(table(Path(sys.argv[1])))
