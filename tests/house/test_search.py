"""The search of the built site finds the right page: questions of users with the pages that answer them.

``make site`` builds the site and runs this; without a built site or without Chromium it is skipped.
"""

import json
import re
from pathlib import Path

import pytest
from browsing import answered

SITE = Path(__file__).parents[2] / "site"
FIRST_RIGHT, AMONG = 45, 3  # of the 50 questions; the others within three hits

PAGES = {
    "silent network": "practitioner",
    "surrogate slope": "surrogates",
    "gain": "reference/gains practitioner",
    "learning rate": "learning_rate",
    "batchnorm": "blocks",
    "critical gain": "critical_gain",
    "theta": "notation",
    "beta": "notation libraries",
    "snntorch leaky": "libraries",
    "weights too small": "practitioner models",
    "energy": "few_spikes cost",
    "synops": "models cost",
    "resume": "campaigns",
    "dask": "campaigns",
    "kernel": "reference/information",
    "fixed point": "reference/propagation",
    "finite width": "reference/finite_width",
    "own neuron": "libraries extending",
    "own dataset": "data",
    "install": "install",
    "audit table columns": "models",
    "late rate": "glossary",
    "reduce firing rate": "few_spikes",
    "add a layer": "extending extending_layers",
    "cite a paper": "bibliography evidence",
    "run a notebook": "notebooks",
    "width leaky neurons": "finite_width_in_time",
    "vanishing gradients": "gradients",
    "residual shortcut": "blocks",
    "what is new": "../CHANGELOG",
    "what's new": "../CHANGELOG",
    "my own layer": "extending_layers extending",
    "custom layer": "extending_layers extending",
    "own weight distribution": "weight_distributions extending",
    "mixture of gaussians weights": "weight_distributions",
    "advise learning rate": "learning_rate",
    "change learning rate": "learning_rate",
    "how wide": "width finite_width_in_time",
    "width for 50 layers": "width",
    "width leaky": "finite_width_in_time",
    "gain leak batchnorm": "blocks",
    "batchnorm gamma": "blocks",
    "uniqueness of the fixed point": "theorist",
    "only one fixed point": "theorist",
    "bibtex": "bibliography",
    "checkpoint": "campaigns",
    "which surrogate": "surrogates practitioner",
    "phase diagram": "gallery reference/figures reference/finite_width",
    "jupyter": "notebooks",
    "spikformer silent": "spikformer",
}

ASK = "QUESTIONS.map((query) => Search._performSearch(...Search._parseQuery(query)).reverse().map(([page]) => page))"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The pages that the search lists for each question, best first."""
    if not (SITE / "search.html").exists():
        pytest.skip("needs a site: make site")
    page = (SITE / "search.html").read_text(encoding="utf-8").replace("<head>", f'<head><base href="{SITE.as_uri()}/">', 1)
    return answered(page, tmp_path_factory.mktemp("search"), ASK.replace("QUESTIONS", json.dumps(list(PAGES))))


def test_keywords_are_of_pages():
    keywords = (SITE.parent / "docs" / "site" / "search_order.js").read_text(encoding="utf-8")
    pages = re.findall(r'^  "([\w/]+)": "', keywords, flags=re.M)
    assert len(pages) > 10
    assert [page for page in pages if not (SITE.parent / f"{page}.md").exists()] == []


def wanted(pages):
    return {f"docs/{page}".replace("docs/../", "") for page in pages.split()}


def ranks(hits, questions):
    """Place of the first right hit of each question, from 1; 1000 if there is none."""
    of_hits = [next((i for i, page in enumerate(pages, 1) if page in wanted(right)), 1000) for pages, right in hits]
    return dict(zip(questions, of_hits, strict=True))


def test_the_right_page_comes_first(found):
    places = ranks(zip(found, PAGES.values(), strict=True), PAGES)
    late = {query: place for query, place in places.items() if place > 1}
    assert len(PAGES) == 50
    assert len(PAGES) - len(late) >= FIRST_RIGHT, late
    assert max(places.values()) <= AMONG, late


def test_wrong_pages_are_seen(found):
    """Negative control: the pages of the next question are rarely found."""
    shifted = [*list(PAGES.values())[1:], PAGES["silent network"]]
    places = ranks(zip(found, shifted, strict=True), PAGES)
    assert sum(place <= AMONG for place in places.values()) < FIRST_RIGHT / 2
