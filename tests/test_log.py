"""LOG.md: every entry has a tag and a question, and the index on top names them all."""

import re

from log_index import END, LOG, TAGS, entries, index, with_index

TEXT = LOG.read_text(encoding="utf-8")
BODY = TEXT.split(END)[1]


def test_the_index_is_that_of_the_entries():
    assert with_index(TEXT) == TEXT, "run `python tests/log_index.py`"
    on_top = " ".join(TEXT.split(END)[0].split())
    assert [question for _, _, question in entries(TEXT) if question not in on_top] == []


def test_every_entry_has_a_known_tag_and_a_question():
    bullets = re.findall(r"^- .*", BODY, re.MULTILINE)
    assert len(bullets) == len(entries(TEXT)) > 170
    assert {tag for _, tag, _ in entries(TEXT)} <= set(TAGS)


def test_a_new_entry_changes_the_index():
    more = TEXT + "- `data` **Is this indexed?** · `true` · yes · kept.\n"
    assert "Is this indexed?" in index(more)
    assert with_index(more) != more
