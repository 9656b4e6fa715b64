"""Write docs/results from the results of all experiments: `python -m experiments.render`."""

import importlib
from pathlib import Path

from experiments.common.command import HOME
from experiments.common.pages import render
from experiments.common.results import Results

__all__ = ["QUESTIONS", "main", "pages"]

QUESTIONS = {
    "Manifolds and densities learned together": (
        "circle",
        "tables",
        "bounded_tables",
        "stability",
        "bounds",
        "starts",
        "consistency",
        "foreign_images",
    ),
    "What blocks can reach": ("volume_preserving", "next_block"),
    "Volumes": ("gradients", "growth"),
    "Components": ("surfaces", "floor", "twist", "ranks", "truncation", "digits"),
    "Surjections": ("symmetry", "augmentation", "reduction", "few_latents"),
}
"""Experiments by the heading that they stand under in the index."""

HOW = """\
Each page is named for the folder in `experiments/` that computes it, and all are written by
`python -m experiments.render` from the figures there (`results.json`: one record a run). Where
a difference between methods has an interval, it holds for all differences of its table at once,
over seeds. Where a page says so, each seed has another split or other points as well. A page also
says where its figures are older than the code."""


def pages() -> dict[str, str]:
    """Markdown of every page, and of the index, by file name."""
    found, index = {}, ["# What the flows learn", HOW]
    for heading, names in QUESTIONS.items():
        lines = []
        for name in names:
            folder = HOME / "experiments" / name
            results = Results.load(folder / "results.json")
            older = folder / "before.json"
            page = importlib.import_module(f"experiments.{name}.page").page(results)
            before = Results.load(older) if older.exists() else None
            found[f"{name}.md"] = render(page, results, before)
            lines.append(f"- [{page.question}]({name}.md) {page.answer}")
        index += [f"## {heading}", "\n".join(lines)]
    return {"README.md": "\n\n".join(index) + "\n"} | found


def main(folder: Path = HOME / "docs" / "results") -> None:
    """Write them all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
