"""Other values in the same sentences."""

from understudy_specialise.rows import Row
from understudy_specialise.vary import Values, values


def row(n: int, asked: str, reply: str, conversation: str | None = None) -> Row:
    return Row(str(n), conversation or f"c{n}", ({"role": "user", "content": asked},), reply)


ROWS = [
    row(1, "play hey jude by the beatles", '>play {"song":"hey jude","artist":"the beatles"}'),
    row(2, "play help by nina simone", '>play {"song":"help","artist":"nina simone"}'),
    row(3, "play so what, miles davis", '>play {"song":"so what","artist":"miles davis"}'),
]


def test_a_value_changes_in_question_and_reply_alike():
    changed = 0
    for epoch in range(1, 20):
        for old, new in zip(ROWS, Values(ROWS, 1.0, 0).of(epoch)):
            said = dict(values(new.reply))
            for _, value in said.items():
                assert new.messages[0]["content"].count(value) == 1
            assert [p for p, _ in values(new.reply)] == [p for p, _ in values(old.reply)]
            assert said["play", "artist"] in ("the beatles", "nina simone", "miles davis"), "of the same argument"
            frame = new.messages[0]["content"]
            for value in said.values():
                frame = frame.replace(value, "_")
            assert frame in ("play _ by _", "play _, _")
            changed += new != old
    assert changed > 30


def test_the_same_epoch_is_the_same_again_and_the_first_is_as_recorded():
    one = Values(ROWS, 0.5, 7)
    assert one.of(0) == ROWS and one.of(1) == Values(ROWS, 0.5, 7).of(1)
    assert any(one.of(1) != one.of(n) for n in range(2, 6))
    assert Values(ROWS, 0.0, 7).of(3) == ROWS


def test_what_is_not_once_in_both_stays():
    rows = [
        row(1, "book for two in two hours", '>book {"for":"two"}'),  # twice in the question
        row(2, "book for seven", '>book {"for":"7"}'),  # not word for word
        row(3, "a table for ten at tenth street", '>book {"for":"ten"}'),  # once as a word: may change
        row(4, "cake and cake shop", '>buy {"what":"cake shop","kind":"shop"}'),  # one within the other
        row(5, "shop of tea", '>buy {"what":"tea","kind":"shop"}', "long"),  # a conversation of two rows
        row(6, "shop of tea and milk", '>buy {"what":"milk","kind":"shop"}', "long"),
        row(7, "which queue?", "billing"),
    ]
    made = Values(rows, 1.0, 0)
    assert [bool(free) for free in made.places] == [False, False, True, False, False, False, False]
    third = {made.of(n)[2].messages[0]["content"] for n in range(1, 20)}
    assert third <= {f"a table for {x} at tenth street" for x in ("ten", "two", "7")} and len(third) > 1


def test_json_and_its_escapes():
    rows = [
        row(1, 'find "a\\b" now', '{"find":{"names":["a\\\\b"]}}'),
        row(2, "find café now", '{"find":{"names":["café"]}}'),
    ]
    new = [Values(rows, 1.0, 0).of(n)[0] for n in range(1, 9)]
    assert {(n.messages[0]["content"], n.reply) for n in new} == {
        ('find "a\\b" now', '{"find":{"names":["a\\\\b"]}}'),
        ('find "café" now', '{"find":{"names":["café"]}}'),
    }
