"""Run the benchmarks one after the other and print the rows of docs/speed.md's table.

python benchmarks/table.py [--quick] [SCRIPT ...]; all scripts of the table unless some are named.
"""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

from measure import Row, cells

HERE = Path(__file__).parent
SCRIPTS = ("forward", "predict", "postprocess", "step", "sample", "evaluation", "folder")


def ask(script: str, options: list[str]) -> dict:
    """The last line that a script prints, as a document; what it says before goes to stderr."""
    command = [sys.executable, str(HERE / f"{script}.py"), *options]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    *above, last = said.strip().splitlines()
    print(*above, sep="\n", file=sys.stderr, flush=True)
    return json.loads(last)


def main() -> None:
    """Print a Markdown table; its last line tells of the machine."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("scripts", nargs="*", metavar="SCRIPT", help=", ".join(SCRIPTS))
    parser.add_argument("--quick", action="store_true", help="small sizes: do the scripts work?")
    options = parser.parse_args()
    unknown = set(options.scripts) - set(SCRIPTS)
    if unknown:
        parser.error(f"no script {', '.join(sorted(unknown))}; choose {', '.join(SCRIPTS)}")
    print("| what | ours | theirs | gain | target | reached | checked in the same run |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    machine: dict = {}
    for script in options.scripts or SCRIPTS:
        document = ask(script, ["--quick"] if options.quick else [])
        for row in document["rows"]:
            print(f"| {' | '.join(cells(Row(**row)))} |", flush=True)
        machine = document["machine"]
    print(f"\n{machine['processor']}, {machine['cores']} cores, torch {machine['torch']}.")


if __name__ == "__main__":
    main()
