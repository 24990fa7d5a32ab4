"""Links the first mention of each word of the glossary on a page to its meaning, which is shown as a tooltip too."""

import re
from pathlib import Path

from docutils import nodes

HOME = "docs/glossary"
VERBS = {"reach", "learns", "forgets", "weak"}  # mostly not in the meaning of the glossary
ELSEWHERE = (nodes.title, nodes.reference, nodes.literal, nodes.math, nodes.raw, nodes.Invisible, nodes.FixedTextElement)


def meanings() -> dict[str, tuple[str, str]]:
    """Words of the glossary in small letters, each with its place on the page and its meaning in one line."""
    page = (Path(__file__).parents[2] / f"{HOME}.md").read_text(encoding="utf-8")
    found = {}
    for term, meaning in re.findall(r"^(\w.*)\n((?:    .*\n)+)", page.partition("```{glossary}\n")[2], flags=re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", " ".join(meaning.split()))
        place = f"#term-{'-'.join(re.findall(r'[a-z0-9]+', term.lower()))}"
        found |= dict.fromkeys({*term.lower().split(", ")} - VERBS, (place, plain))
    return found


MEANINGS = meanings()
WORD = re.compile(rf"\b({'|'.join(sorted(map(re.escape, MEANINGS), key=len, reverse=True))})(?:s?)\b", flags=re.IGNORECASE)


def linked(text, address: str, said: set[str]):
    """The nodes of a text in which words not yet ``said`` are links to the glossary."""
    at, parts = 0, []
    for word in WORD.finditer(text):
        place, meaning = MEANINGS[word[1].lower()]
        if place not in said:
            said.add(place)
            parts += [nodes.Text(text[at : word.start()])]
            parts += [nodes.reference("", word[0], internal=True, refuri=address + place, reftitle=meaning, classes=["word"])]
            at = word.end()
    return [*parts, nodes.Text(text[at:])] if parts else None


def link(app, doctree, page):
    if page == HOME or not page.startswith(("docs/", "theory_notebooks/")) or app.builder.format != "html":
        return
    said: set[str] = set()
    address = app.builder.get_relative_uri(page, HOME)
    for paragraph in list(doctree.findall(nodes.paragraph)):
        for text in list(paragraph.findall(nodes.Text)):
            above = text.parent
            while above is not None and not isinstance(above, ELSEWHERE):
                above = above.parent
            if above is None and (parts := linked(str(text), address, said)):
                text.parent.replace(text, parts)


def setup(app):
    app.connect("doctree-resolved", link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
