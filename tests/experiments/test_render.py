"""The committed pages are what the committed results say."""

import re

import pytest

from experiments import render
from experiments.common.command import HOME

DOCS = HOME / "docs"
PAGES = render.pages()


def test_pages_are_those_that_the_results_make():
    assert {path.name for path in (DOCS / "results").iterdir()} == set(PAGES)
    for name, text in PAGES.items():
        assert (DOCS / "results" / name).read_text("utf-8") == text, (
            f"{name} differs: run python -m experiments.render"
        )


def test_every_experiment_has_a_page():
    folders = {path.parent.name for path in (HOME / "experiments").glob("*/run.py")}
    assert {f"{name}.md" for name in folders} == set(PAGES) - {"README.md"}
    assert all(f"]({name}.md)" in PAGES["README.md"] for name in folders)


def test_pages_are_written(tmp_path):
    render.main(tmp_path / "new")
    assert {path.name for path in (tmp_path / "new").iterdir()} == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_figures_of_a_page_exist_and_no_figure_is_nan(name):
    for picture in re.findall(r"\]\(\.\./images/(\S+)\)", PAGES[name]):
        assert (DOCS / "images" / picture).is_file()
    assert not re.search(r"\bnan\b", PAGES[name])


def test_documents_show_no_placeholders_and_link_to_what_exists():
    for path in [*DOCS.rglob("*.md"), HOME / "README.md"]:
        text = path.read_text("utf-8")
        prose = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
        assert not re.findall(r"\{[^}\n]*\}", prose), path
        for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", prose):
            assert (path.parent / link).exists(), (path, link)
