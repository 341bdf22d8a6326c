import random

from pii_kit.labels import PII_TYPES
from pii_kit.sample import text as sample_text
from pii_kit.sample.people import slots
from pii_kit.sample.text import SLOT
from pii_kit.sample.topics import TOPICS


def test_no_story_holds_pii():
    assert not any(f"{{{pii_type}" in repr(TOPICS) for pii_type in PII_TYPES)


def test_every_slot_of_every_story_is_known():
    known = {*slots(random.Random(0)), *sample_text.FILLERS, "topic"}
    assert set(SLOT.findall(repr(TOPICS))) <= known


def test_every_topic_has_titles_headings_and_a_story():
    assert len(TOPICS) > 5
    for topic in TOPICS.values():
        assert topic.titles and len(topic.headings) > 2 and len(topic.sentences) > 10
