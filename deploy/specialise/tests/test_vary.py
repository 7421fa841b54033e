"""Other values in the same sentences."""

import json
from collections import Counter

from understudy_specialise.rows import Row
from understudy_specialise.vary import Values, is_open, values


def row(n: int, asked: str, reply: str, conversation: str | None = None) -> Row:
    return Row(str(n), conversation or f"c{n}", ({"role": "user", "content": asked},), reply)


SONGS = ["hey jude", "help", "so what", "respect", "imagine", "waterloo", "jolene", "hurt", "creep", "zombie", "angie"]
ARTISTS = [
    "the beatles", "nina simone", "miles davis", "aretha franklin", "john lennon", "abba", "dolly parton",
    "johnny cash", "radiohead", "the cranberries", "the stones",
]  # fmt: skip
ROWS = [
    row(n, f"play {song}, {artist}" if n % 3 == 0 else f"play {song} by {artist}", f'>play {{"song":"{song}","artist":"{artist}"}}')
    for n, (song, artist) in enumerate(zip(SONGS, ARTISTS), 1)
]
# Enough different values for an argument to be open.
OTHERS = "ash birch cedar elm fir hazel larch maple oak pine".split()


def filled(first: int, form: str) -> list:
    """Rows whose values stand in no question."""
    return [row(first + n, "as ever", form % word) for n, word in enumerate(OTHERS)]


def test_a_value_changes_in_question_and_reply_alike():
    changed = 0
    for epoch in range(1, 20):
        for old, new in zip(ROWS, Values(ROWS, 1.0, 0).of(epoch)):
            said = dict(values(new.reply))
            for _, value in said.items():
                assert new.messages[0]["content"].count(value) == 1
            assert [p for p, _ in values(new.reply)] == [p for p, _ in values(old.reply)]
            assert said["play", "song"] in SONGS and said["play", "artist"] in ARTISTS, "of the same argument"
            frame = new.messages[0]["content"]
            for value in said.values():
                frame = frame.replace(value, "_")
            assert frame in ("play _ by _", "play _, _")
            changed += new != old
    assert changed > 150


def test_a_closed_set_stays_where_a_slot_is_filled_anew():
    intents = ["refund", "card_arrival", "top_up", "pin_change", "exchange_rate", "lost_card", "fees", "transfer_time"]
    intents += ["age_limit", "atm_support", "verify_identity", "cash_withdrawal"]
    rows = []
    for n in range(200):
        # One of them comes once only: a rare label is a label still.
        intent = "fraud" if n == 100 else intents[n % len(intents)]
        unit = ("celsius", "fahrenheit")[n % 2]
        reply = {"intent": intent, "customer": f"client{n}", "unit": unit}
        rows.append(row(n, f"i want a {intent} for client{n} in {unit}", json.dumps(reply)))
    made, changed = Values(rows, 1.0, 0), 0
    assert set(made.known) == {("customer",)}
    for epoch in range(1, 4):
        for old, new in zip(rows, made.of(epoch)):
            before, after = json.loads(old.reply), json.loads(new.reply)
            assert (after["intent"], after["unit"]) == (before["intent"], before["unit"])
            assert new.messages[0]["content"] == f"i want a {after['intent']} for {after['customer']} in {after['unit']}"
            changed += after["customer"] != before["customer"]
    assert changed > 500


def test_an_argument_is_open_where_values_come_that_were_never_seen():
    cities = Counter({f"city{n}": 12 for n in range(60)} | {f"village{n}": 1 for n in range(120)})
    assert is_open(cities), "some often, and always new ones"
    labels = Counter({f"label{n}": 5 for n in range(77)} | {"rare": 1})
    assert not is_open(labels), "many, and all of them known"
    assert is_open(Counter(f"name{n}" for n in range(10)))
    assert not is_open(Counter(f"name{n}" for n in range(9))), "too few to tell"


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
        *filled(20, '>book {"for":"%s"}'),
        *filled(40, '>buy {"what":"%s"}'),
        *filled(60, '>buy {"kind":"%s"}'),
    ]
    made = Values(rows, 1.0, 0)
    assert [bool(free) for free in made.places[:7]] == [False, False, True, False, False, False, False]
    assert not any(made.places[7:])
    third = {made.of(n)[2].messages[0]["content"] for n in range(1, 20)}
    assert third <= {f"a table for {x} at tenth street" for x in ("ten", "two", "7", *OTHERS)} and len(third) > 1


def test_json_and_its_escapes():
    rows = [
        row(1, 'find "a\\b" now', '{"find":{"names":["a\\\\b"]}}'),
        row(2, "find café now", '{"find":{"names":["café"]}}'),
        *filled(3, '{"find":{"names":["%s"]}}'),
    ]
    made = Values(rows, 1.0, 0)
    new = [made.of(n)[0] for n in range(1, 300)]
    assert {(n.messages[0]["content"], n.reply) for n in new} == {
        ('find "a\\b" now', '{"find":{"names":["a\\\\b"]}}'),
        *((f'find "{x}" now', f'{{"find":{{"names":["{x}"]}}}}') for x in ("café", *OTHERS)),
    }
