"""The README and the pages of docs/ work as written, each in a place of its own; the site builds."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lit_mtl.commands.options import options_of
from lit_mtl.data.downloads import CORPORA, prepare_corpora
from tests.conftest import ROOT, Run, save_tiny_backbone
from tests.data.archive import small_corpora
from tests.pages import EVERYTHING, NOT_RUN, PAGES, README, TEXTS, blocks, run, scripts


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder as a reader has it."""
    for folder in ("configs", "examples"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if scripts(TEXTS[page], Path())], ids=lambda page: page.stem
)
def test_a_page_works_as_written(page: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = small_corpora(place, monkeypatch)  # what would be fetched is there already
    prepare_corpora([(name, Path("data", name)) for name in CORPORA], archive=archive)
    backbone = save_tiny_backbone(place / "bert", num_hidden_layers=12)
    printed = []
    for script in scripts(TEXTS[page], backbone):
        done = run(script)
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        printed.append(done.stdout)
    if page.stem == "artifact":
        the_search_finds_sentences(printed[1])
        assert "torch.Size([1, 256])" in printed[2]
        assert "'sentiment'" in printed[2]


def the_search_finds_sentences(printed: str) -> None:
    """Three of the sentences, the nearest first."""
    sentences = (ROOT / "examples/own_files/positive.txt").read_text().splitlines()
    hits = [line.split("  ", 1) for line in printed.splitlines()]
    assert len(hits) == 3
    assert all(text in sentences for _, text in hits)
    scores = [float(score) for score, _ in hits]
    assert scores == sorted(scores, reverse=True)


def test_a_script_that_fails_in_its_middle_fails() -> None:
    assert run("false\ntrue").returncode != 0
    assert run("false &\ntrue\nwait $!").returncode != 0


@pytest.mark.parametrize("start", NOT_RUN)
def test_what_is_not_run_stands_somewhere(start: str) -> None:
    lines = "\n".join(blocks("bash")).splitlines()
    assert any(re.match(start, line) for line in lines)


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: block.splitlines()[0][:30])
def test_a_config_shown_is_one(block: str, place: Path, lit_mtl: Run) -> None:
    """Every key is known; what says that it stands in a file stands there."""
    (place / "shown.yaml").write_text(block)
    if of := re.match(r"# of (\S+)\n", block):
        whole = yaml.safe_load((ROOT / of[1]).read_text())
        for section, values in yaml.safe_load(block).items():
            assert values.items() <= whole[section].items()
    config = ["--config=configs/debug.yaml"] if block.startswith("freezing:") else []
    with pytest.raises(SystemExit) as ended:
        lit_mtl("fit", *config, "--config=shown.yaml", "--print_config")
    assert ended.value.code == 0


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with warnings as errors: links, anchors and images, and pages in no table."""
    folder = tmp_path_factory.mktemp("site")
    words = ["-W", "--keep-going", "-q", "-b", "html", "-d", str(folder / "trees")]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *words, str(ROOT / "docs"), str(folder / "html")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_the_site_has_every_page_and_fetches_nothing(site: Path) -> None:
    front = (site / "index.html").read_text(encoding="utf-8")
    for page in PAGES:
        if page != README and page.stem != "index":
            assert f'href="{page.stem}.html"' in front, page.stem
    assert not re.findall(r"""<(?:link|script|img)[^>]*(?:href|src)=["'](?:https?:)?//""", front)


def test_the_site_lists_every_option(site: Path) -> None:
    options = (site / "options.html").read_text(encoding="utf-8")
    for command in ("fit", "predict", "export", "init", "plan"):
        for option in options_of(command):
            if not option.name.endswith("help"):
                assert option.name in options, f"{command} {option.name}"


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_links_of_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", TEXTS[README])
    assert len(links) > 20
    for link in links:
        path, _, anchor = link.partition("#")
        if not path.startswith("http"):
            target = ROOT / path if path else README
            assert target.exists(), link
            headings = re.findall(r"^#+ (.*)$", target.read_text() if anchor else "", re.MULTILINE)
            assert not anchor or anchor in map(slug, headings), link


def test_nothing_is_left_to_be_filled_in() -> None:
    assert not re.search(r"@[A-Z]+@", EVERYTHING)


@pytest.mark.slow
def test_the_console_page_shows_what_the_commands_print() -> None:
    """But for the last digits of metrics, which differ between processors."""
    script = runpy.run_path(str(ROOT / "docs" / "record_console.py"))
    fresh, shown = script["page"](), (ROOT / "docs" / "console.md").read_text(encoding="utf-8")
    assert re.sub(r"\d\.\d{4}", "0.0000", fresh) == re.sub(r"\d\.\d{4}", "0.0000", shown)
    for command in ("interrupted", "continued"):
        assert f"<!-- record {command} -->" in shown
    assert "(exit code 130)" in shown
    assert "continued from step 8" in shown
    assert "bad/scores.tsv:3: " in shown
    assert "perhaps --model.lr was meant" in shown
