"""Print docs/settings.md: every setting, read off the types that check them.

python tools/settings_page.py > docs/settings.md
"""

from __future__ import annotations

from mask2former.config.reference import Branch, branches

INTRODUCTION = """\
# Settings

Every setting by its dotted key, as recipes (YAML) and command lines (`train.steps=100`) write it;
`python tools/settings_page.py` makes this page. `mask2former recipes NAME` writes a recipe, or a
run's or model's settings, with the values they have. Defaults are those of the paper's COCO
recipes; each bundled recipe has its own. A branch that comes in variants names one by its `kind`,
and another `kind` replaces the whole branch.
"""


def table(branch: Branch) -> str:
    """A heading, what the branch is, and a row for each of its settings."""
    lines = [f"## `{branch.key}`", ""]
    if branch.variant is not None:
        lines = [f"## `{branch.key}.kind={branch.variant}`", ""]
    lines += [branch.meaning.replace("\n", " "), ""]
    if branch.settings:
        lines += ["| setting | values | default | |", "| --- | --- | --- | --- |"]
    for setting in branch.settings:
        default = f"`{setting.default}`" if setting.default else ""
        meaning = setting.meaning.replace("|", "\\|")
        lines.append(f"| `{setting.name}` | {setting.allowed} | {default} | {meaning} |")
    return "\n".join(lines)


def page() -> str:
    """The whole page."""
    return "\n\n".join([INTRODUCTION.strip(), *map(table, branches())]).replace("\n\n\n", "\n\n")


if __name__ == "__main__":
    print(page())
