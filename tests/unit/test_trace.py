"""Contexts as W3C Trace Context has them, the store that is bounded, the bucket."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.trace import (
    ALSO,
    TRACEPARENT,
    Bucket,
    Context,
    Span,
    Spans,
    contexts_of,
    headers_of,
    is_trace_id,
    parse,
    write,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01"


def hexadecimal(digits: int) -> st.SearchStrategy[str]:
    return st.integers(1, 16**digits - 1).map(lambda number: f"{number:0{digits}x}")


CONTEXTS = st.builds(Context, hexadecimal(32), hexadecimal(16), st.just(True))


# --- the header ---


def test_a_valid_header_is_read() -> None:
    """Trace, parent, sampled or not."""
    assert parse(VALID) == Context(TRACE, SPAN, True)
    assert parse(VALID[:-2] + "00") == Context(TRACE, SPAN, False)


@pytest.mark.parametrize("flags", ["01", "03", "ff", "09"])
def test_only_the_lowest_flag_says_sampled(flags: str) -> None:
    """The others are for later versions; they are not passed on."""
    context = parse(VALID[:-2] + flags)
    assert context is not None
    assert context.sampled
    assert write(context) == VALID


@pytest.mark.parametrize("flags", ["00", "02", "fe"])
def test_other_flags_do_not_say_sampled(flags: str) -> None:
    """Whatever they say."""
    context = parse(VALID[:-2] + flags)
    assert context is not None
    assert not context.sampled


@pytest.mark.parametrize("header", [
    "", " ", VALID.upper(), VALID + "-", VALID + "-00", VALID + "x", VALID + ",",
    f"{VALID},{VALID}",
    f" {VALID}", f"{VALID}\n", VALID[1:], VALID[:-1], f"ff-{TRACE}-{SPAN}-01",
    f"0g-{TRACE}-{SPAN}-01", f"0-{TRACE}-{SPAN}-01", f"000-{TRACE}-{SPAN}-01",
    f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE[1:]}-{SPAN}-01",
    f"00-{TRACE}0-{SPAN}-01", f"00-{TRACE}-{SPAN[1:]}-01", f"00-{TRACE}-{SPAN}0-01",
    f"00-{TRACE}-{SPAN}-1", f"00-{TRACE}-{SPAN}-001", f"00-{TRACE}-{SPAN}-0x",
    f"00-{TRACE[:-1]}g-{SPAN}-01", f"00_{TRACE}_{SPAN}_01", f"00-{TRACE}-{SPAN}", f"00-{TRACE}",
    "00", f"cc-{TRACE}-{SPAN}-01x", f"cc-{TRACE}-{SPAN}-01.what-the-future-will-be-like",
    f"00-{TRACE[:-1]}\u0664-{SPAN}-01",
])  # fmt: skip
def test_what_is_not_valid_counts_as_if_it_were_not_there(header: str) -> None:
    """Lengths, letters, zeros, versions, more than one."""
    assert parse(header) is None


@pytest.mark.parametrize("header", [
    f"01-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-",
    f"fe-{TRACE}-{SPAN}-01-what-the-future-will-be-like",
])  # fmt: skip
def test_a_later_version_is_read_as_far_as_it_is_known(header: str) -> None:
    """It may have more behind a dash; what goes on from here is version 00."""
    context = parse(header)
    assert context == Context(TRACE, SPAN, True)
    assert write(context) == VALID


@given(CONTEXTS)
def test_what_is_written_is_read_again(context: Context) -> None:
    """For every context."""
    assert parse(write(context)) == context


@given(st.text(max_size=80))
def test_no_text_is_too_strange_to_be_refused(text: str) -> None:
    """Nothing raises; what is read is what was written."""
    context = parse(text)
    assert context is None or write(context)[3:-2] == text[3:52] + "-"


@pytest.mark.parametrize(
    "text", ["", TRACE[1:], TRACE.upper(), "0" * 32, f"{TRACE}\n", f"{TRACE}0"]
)
def test_what_is_no_id_of_a_trace_is_told_apart(text: str) -> None:
    """It comes from the address of a page."""
    assert is_trace_id(TRACE)
    assert not is_trace_id(text)


# --- messages that several requests share ---


@given(st.dictionaries(st.integers(0, 63), CONTEXTS, max_size=5))
def test_the_contexts_of_a_message_arrive_as_they_were_sent(contexts: dict[int, Context]) -> None:
    """Each for its part of the message."""
    headers = headers_of(contexts)
    assert contexts_of(headers.get(TRACEPARENT, ""), headers.get(ALSO, "")) == contexts


def test_a_message_of_one_request_has_the_headers_of_the_standard_only() -> None:
    """So others understand it."""
    assert headers_of({0: Context(TRACE, SPAN)}) == {TRACEPARENT: VALID}


@pytest.mark.parametrize(
    "also", ["x", "0", "0=", "0=x", "=", "-1=" + VALID, "x=" + VALID, ",,", "0=" + VALID[:-1] + "0"]
)
def test_what_is_wrong_in_a_list_is_left_out(also: str) -> None:
    """And nothing else."""
    assert contexts_of(VALID, f"{also},3={VALID}") == {3: Context(TRACE, SPAN)}


def test_what_is_not_sampled_is_not_gone_on_with() -> None:
    """A call that says so leaves no span."""
    assert contexts_of(VALID[:-2] + "00", "") == {}
    assert contexts_of("nonsense", "") == {}


# --- what is kept ---


def span(number: int, trace_id: str = TRACE) -> Span:
    return Span(trace_id, f"{number:016x}", "", "a", "server", "n", "s", number, 1)


def test_the_store_holds_the_last_spans_and_no_more() -> None:
    """However many there were."""
    spans = Spans(threading.Lock(), spans_max=5, entries_max=2)
    for number in range(1, 100):
        spans.add([span(number)], entry=number % 2 == 1)
    assert [one.started_ns for one in spans.of(TRACE)] == [95, 96, 97, 98, 99]
    assert [one.started_ns for one in spans.last(9)] == [99, 97]
    assert [one.started_ns for one in spans.last(1)] == [99]
    assert spans.last(0) == []


def test_a_request_is_known_a_little_longer_than_what_it_caused() -> None:
    """It stands on the list of the last ones."""
    spans = Spans(threading.Lock(), spans_max=1, entries_max=2)
    spans.add([span(1)], entry=True)
    spans.add([span(2, "f" * 32)], entry=False)
    assert [one.started_ns for one in spans.of(TRACE)] == [1]


def test_a_span_travels_as_json() -> None:
    """And comes back the same; what is none is refused."""
    assert Span.of(span(7).document()) == span(7)
    for wrong in ({}, {"x": 1}, span(7).document() | {"started_ns": "7"}):
        with pytest.raises(ValueError, match="not a span"):
            Span.of(wrong)


# --- how many ---


class Watch:
    """A clock that is set."""

    def __init__(self) -> None:
        self.at = 100.0

    def now(self) -> float:
        return self.at


def test_a_bucket_lets_a_burst_through_and_then_so_many_a_second() -> None:
    """Whatever the load."""
    watch = Watch()
    bucket = Bucket(10.0, 3, now=watch.now, lock=threading.Lock())
    assert [bucket.take() for _ in range(5)] == [True] * 3 + [False] * 2
    passed = 0
    for _ in range(10_000):
        watch.at += 0.001
        passed += bucket.take()
    assert 99 <= passed <= 101


def test_a_bucket_does_not_save_up_more_than_a_burst() -> None:
    """After a quiet hour as after a second."""
    watch = Watch()
    bucket = Bucket(10.0, 3, now=watch.now, lock=threading.Lock())
    watch.at += 3600
    assert [bucket.take() for _ in range(4)] == [True] * 3 + [False]


def test_a_bucket_without_a_rate_lets_nobody_through() -> None:
    """Never."""
    watch = Watch()
    bucket = Bucket(0.0, 0, now=watch.now, lock=threading.Lock())
    for _ in range(3):
        assert not bucket.take()
        watch.at += 1e6
