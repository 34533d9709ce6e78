"""Korean: every word of pages and scripts is there, and the compiled files say what the sources say."""

from __future__ import annotations

import ast
import gettext
import re
from pathlib import Path

import pytest
from django.test import Client

import labeler

LABELER = Path(labeler.__file__).parent
WORDS = LABELER / "locale" / "ko" / "LC_MESSAGES"
TRANSLATE = re.compile(r"""\{%\s*translate\s+(?:'([^']*)'|"([^"]*)")""")
CALL = re.compile(r"""\bn?gettext\(\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|`([^`$]*)`)""")
LINE = re.compile(r'(?:(msg\w+)(?:\[0\])? )?(".*")')


def source(domain: str) -> dict[str, str]:
    """What the .po file says: English to Korean, a context in front as compiled files write it."""
    words = {}
    for block in (WORDS / f"{domain}.po").read_text("utf-8").split("\n\n"):
        parts: dict[str, str] = {}
        key = ""
        for line in filter(None, map(LINE.fullmatch, block.splitlines())):
            key = line[1] or key
            parts[key] = parts.get(key, "") + ast.literal_eval(line[2])
        context = f"{parts['msgctxt']}\x04" if "msgctxt" in parts else ""
        words[context + parts["msgid"]] = parts["msgstr"]
    return words


def compiled(domain: str) -> dict[str, str]:
    """What the .mo file says."""
    with (WORDS / f"{domain}.mo").open("rb") as file:
        catalogue = gettext.GNUTranslations(file)._catalog
    return {key[0] if isinstance(key, tuple) else key: text for key, text in catalogue.items()}


@pytest.mark.parametrize("domain", ["django", "djangojs"])
def test_the_compiled_words_are_those_of_the_source(domain):
    assert compiled(domain) == source(domain)


@pytest.mark.parametrize("domain", ["django", "djangojs"])
def test_every_word_has_korean_with_the_same_places_for_values(domain):
    for english, korean in source(domain).items():
        assert korean, english
        if english:
            assert set(re.findall(r"%\(\w+\)s", korean)) == set(re.findall(r"%\(\w+\)s", english)), english


def test_every_word_of_templates_and_scripts_is_in_the_source():
    templates = _found(TRANSLATE, [*(LABELER / "templates").rglob("*.html")], but="admin")
    scripts = _found(CALL, [*(LABELER / "static" / "labeler" / "js").rglob("*.js")])
    assert len(templates) > 50 and len(scripts) > 100
    assert templates - set(source("django")) == set()
    assert scripts - set(source("djangojs")) == set()


def _found(pattern: re.Pattern, files: list[Path], but: str = "vendor") -> set[str]:
    texts = [file.read_text("utf-8") for file in files if but not in file.parts]
    return {"".join(groups).replace("\\'", "'") for text in texts for groups in pattern.findall(text)}


@pytest.mark.django_db
def test_the_browser_chooses_the_language_and_the_switch_keeps_it():
    client = Client(headers={"accept-language": "ko-KR,ko;q=0.9,en;q=0.5"})
    page = client.get("/accounts/login/").content.decode()
    assert '<html lang="ko"' in page and "로그인" in page and ">English</button>" in page
    client.post("/language/", {"language": "en", "next": "/accounts/login/"})
    page = client.get("/accounts/login/").content.decode()
    assert '<html lang="en"' in page and "Sign in" in page and ">한국어</button>" in page


@pytest.mark.django_db
def test_scripts_are_served_korean_words():
    words = Client(headers={"accept-language": "ko"}).get("/words.js").content.decode()
    assert "모두 저장됨" in words or "\\ubaa8\\ub450" in words
