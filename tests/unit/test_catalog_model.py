"""Operations' fingerprints, and log entries: their chain of hashes and their written form."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.model import Entry, Operation, book_key, decode_entries, topic_page_key
from common.position import ORIGIN, Position

KEYS = st.lists(st.text(max_size=12), max_size=4).map(tuple)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
BODIES = st.dictionaries(st.text(max_size=4), JSON, max_size=4)


@st.composite
def chains(draw: st.DrawFn, max_size: int = 5) -> list[Entry]:
    """Draw entries that follow one another from the origin."""
    prev, entries = ORIGIN, []
    for _ in range(draw(st.integers(0, max_size))):
        entry = Entry.build(
            draw(st.integers(1, 9)), prev, draw(KEYS), draw(KEYS), draw(st.binary(max_size=40))
        )
        entries.append(entry)
        prev = entry.position
    return entries


FIRST = Entry.build(1, ORIGIN, ("book:1", "ledger"), ("key-1",), b"changes\n[1]\n")
SECOND = Entry.build(1, FIRST.position, ("book:2",), ("key-2", "key-3"), b"")


# --- the chain ---


def test_an_entry_follows_its_predecessor() -> None:
    """One after the other, from the origin on."""
    assert FIRST.follows(ORIGIN)
    assert SECOND.follows(FIRST.position)
    assert (FIRST.position.seq, SECOND.position.seq) == (1, 2)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"keys": ("book:3",)}, id="keys"),
        pytest.param({"keys": ("book:2", "")}, id="one key more"),
        pytest.param({"keys": ()}, id="no keys"),
        pytest.param({"operations": ("key-3", "key-2")}, id="the order of operations"),
        pytest.param({"operations": ("key-2",)}, id="one operation less"),
        pytest.param({"changeset": b"x"}, id="changeset"),
        pytest.param({"position": SECOND.position._replace(epoch=2)}, id="epoch"),
        pytest.param({"position": SECOND.position._replace(seq=3)}, id="seq"),
        pytest.param({"position": SECOND.position._replace(hash=FIRST.position.hash)}, id="hash"),
    ],
)
def test_an_entry_with_any_field_changed_follows_nothing(changed: dict[str, object]) -> None:
    """The hash covers all of it."""
    assert not dataclasses.replace(SECOND, **changed).follows(FIRST.position)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "prev",
    [
        pytest.param(ORIGIN, id="the origin"),
        pytest.param(FIRST.position._replace(hash="0" * 64), id="other content"),
        pytest.param(FIRST.position._replace(seq=2), id="another seq"),
        pytest.param(SECOND.position, id="itself"),
    ],
)
def test_an_entry_follows_one_predecessor_only(prev: Position) -> None:
    """The hash of the predecessor is in its own."""
    assert not SECOND.follows(prev)


def test_keys_do_not_run_into_operations() -> None:
    """A key moved over to the operations makes another hash."""
    one = Entry.build(1, ORIGIN, ("a", "b"), ("c",), b"")
    other = Entry.build(1, ORIGIN, ("a",), ("b", "c"), b"")
    assert one.position != other.position


def test_the_head_does_not_run_into_the_changeset() -> None:
    """A key with a line break in it is no beginning of a changeset."""
    one = Entry.build(1, ORIGIN, (), ("c",), b"\n")
    other = Entry.build(1, ORIGIN, (), ("c\n",), b"")
    assert one.position != other.position


@given(chains(), st.data())
def test_a_change_anywhere_breaks_the_chain_behind_it(
    entries: list[Entry], data: st.DataObject
) -> None:
    """Two logs that agree on a position agree on all before it."""
    if not entries:
        return
    at = data.draw(st.integers(0, len(entries) - 1))
    prev = entries[at - 1].position if at else ORIGIN
    old = entries[at]
    forged = Entry.build(old.position.epoch, prev, old.keys, old.operations, old.changeset + b"!")
    assert forged.position.hash != old.position.hash
    assert at + 1 == len(entries) or not entries[at + 1].follows(forged.position)


# --- written and read ---


@given(chains())
def test_entries_written_one_after_the_other_are_read_back(entries: list[Entry]) -> None:
    """Whatever bytes are in the changesets."""
    assert list(decode_entries(b"".join(entry.encode() for entry in entries))) == entries


@given(chains(), st.data())
def test_entries_that_are_cut_short_are_refused(entries: list[Entry], data: st.DataObject) -> None:
    """A cut inside an entry is noticed; those before it can be read."""
    written = [entry.encode() for entry in entries]
    whole = b"".join(written)
    cut = data.draw(st.integers(0, max(0, len(whole) - 1)))
    ends = {sum(map(len, written[:count])) for count in range(len(written) + 1)}
    if cut in ends:
        assert list(decode_entries(whole[:cut])) == entries[: sorted(ends).index(cut)]
    else:
        with pytest.raises(ValueError, match=r"."):
            list(decode_entries(whole[:cut]))


def test_no_bytes_are_no_entries() -> None:
    """A peer that has nothing more sends nothing."""
    assert list(decode_entries(b"")) == []


# --- fingerprints ---


def shuffled(value: object) -> object:
    """Return the same JSON with the members of every object the other way round."""
    if isinstance(value, dict):
        return {name: shuffled(member) for name, member in reversed(value.items())}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


@given(BODIES)
def test_the_order_of_members_does_not_matter(body: dict[str, object]) -> None:
    """The same request written differently is the same request."""
    other = shuffled(body)
    assert isinstance(other, dict)
    assert Operation("k", "sell", body).fingerprint == Operation("k", "sell", other).fingerprint


@given(BODIES, BODIES)
def test_another_body_has_another_fingerprint(
    one: dict[str, object], two: dict[str, object]
) -> None:
    """And the same body the same one (True is not 1)."""
    same = Operation("k", "sell", one).fingerprint == Operation("k", "sell", two).fingerprint
    assert same == (repr(sorted_deep(one)) == repr(sorted_deep(two)))


def sorted_deep(value: object) -> object:
    if isinstance(value, dict):
        return [(name, sorted_deep(value[name])) for name in sorted(value)]
    return [[sorted_deep(item) for item in value]] if isinstance(value, list) else value


def test_another_kind_has_another_fingerprint() -> None:
    """A restock is no sale, even with the same body."""
    assert Operation("k", "sell", {}).fingerprint != Operation("k", "restock", {}).fingerprint


def test_the_key_is_not_part_of_the_fingerprint() -> None:
    """It is what requests are looked up by."""
    assert (
        Operation("k1", "sell", {"a": 1}).fingerprint
        == Operation("k2", "sell", {"a": 1}).fingerprint
    )


def test_the_keys_of_a_book_and_of_a_topic_never_meet() -> None:
    """A topic may be called anything."""
    assert book_key(1) == "book:1"
    assert topic_page_key("book:1") == "topic:book:1"
