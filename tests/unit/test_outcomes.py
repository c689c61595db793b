"""What the attempts of one write amount to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import TABLE, Problem
from common.peer import NoAnswer, NotSent
from frontend.outcomes import Failure, Outcome, outcome_of, unanswered

NOT_SENT, NO_ANSWER = NotSent("refused"), NoAnswer("reset")
REFUSED = Problem("writes-unavailable", "no replica")
BUSY = Problem("rate-limited", "full")
RUNNING = Problem("in-progress", "still running")
UNKNOWN = Problem("outcome-unknown", "who knows")
UNAVAILABLE = Problem("unavailable", "recovering")
NOT_LEADER = Problem("not-leader", "not me", leader=None)

TOLD: list[tuple[list[Failure], str]] = [
    ([], "writes-unavailable"),
    ([NOT_SENT], "writes-unavailable"),
    ([NOT_SENT, NOT_SENT], "writes-unavailable"),
    ([NOT_LEADER, NOT_SENT], "writes-unavailable"),
    ([REFUSED], "writes-unavailable"),
    ([REFUSED, REFUSED], "writes-unavailable"),
    ([NOT_SENT, REFUSED], "writes-unavailable"),
    ([BUSY], "rate-limited"),
    ([BUSY, NOT_SENT], "rate-limited"),
    ([BUSY, REFUSED], "writes-unavailable"),
    ([Problem("unauthorized", "other secret")], "writes-unavailable"),
    ([Problem("foreign-cluster", "other shop")], "writes-unavailable"),
    ([NO_ANSWER], "outcome-unknown"),
    ([NO_ANSWER, REFUSED], "outcome-unknown"),
    ([REFUSED, NO_ANSWER], "outcome-unknown"),
    ([NO_ANSWER, NOT_SENT], "outcome-unknown"),
    ([NO_ANSWER, RUNNING], "outcome-unknown"),
    ([UNKNOWN, RUNNING], "outcome-unknown"),
    ([UNKNOWN, REFUSED], "outcome-unknown"),
    ([UNAVAILABLE, REFUSED], "outcome-unknown"),
    ([REFUSED, RUNNING], "outcome-unknown"),
    ([RUNNING], "in-progress"),
    ([RUNNING, NOT_SENT], "in-progress"),
    ([NOT_SENT, RUNNING], "in-progress"),
    ([RUNNING, RUNNING], "in-progress"),
    ([RUNNING, NO_ANSWER], "outcome-unknown"),
    ([RUNNING, REFUSED], "outcome-unknown"),
    ([Problem("storage-failed", "full")], "outcome-unknown"),
    ([Problem("diverged", "odd")], "outcome-unknown"),
]


@pytest.mark.parametrize(("errors", "code"), TOLD, ids=lambda value: str(value)[:60])
def test_the_attempts_amount_to(errors: list[Failure], code: str) -> None:
    """One row, one way in which the attempts of a write can end."""
    attempts = [(f"order-{number}", error) for number, error in enumerate(errors, 1)]
    assert unanswered(attempts, "the-key").code == code


@pytest.mark.parametrize("error", [NO_ANSWER, RUNNING])
def test_what_can_be_asked_again_carries_the_key(error: Failure) -> None:
    """The client may not have given one: only the answer tells it."""
    problem = unanswered([("order-1", error)], "the-key")
    assert problem.body()["idempotency_key"] == "the-key"


def test_addresses_are_not_told() -> None:
    """A connection error is full of them; the node's name is enough."""
    errors = [NotSent("order-1: host='10.1.2.3'"), NoAnswer("order-2: host='10.1.2.4'")]
    told = unanswered([("order-1", errors[0]), ("order-2", errors[1])], "k").detail
    assert "10.1" not in told
    assert "order-1 cannot be reached; order-2 did not answer" in told


@pytest.mark.parametrize(
    "code", ["sold-out", "not-found", "idempotency-mismatch", "invalid-request", "too-large"]
)
def test_a_recorded_refusal_is_an_answer(code: str) -> None:
    """It stands whatever became of other attempts."""
    assert outcome_of(Problem(code, "recorded")) is Outcome.ANSWERED


ANY = st.one_of(
    st.sampled_from([NOT_SENT, NO_ANSWER]),
    st.sampled_from(sorted(TABLE)).map(lambda code: Problem(code, "x")),
).filter(lambda error: outcome_of(error) is not Outcome.ANSWERED)


@given(st.lists(ANY, max_size=5))
def test_nothing_happened_is_never_said_after_a_lost_attempt(errors: list[Failure]) -> None:
    """The law of the module, over every code there is."""
    problem = unanswered([("n", error) for error in errors], "k")
    kinds = {outcome_of(error) for error in errors}
    nothing = kinds <= {Outcome.UNSENT, Outcome.REFUSED}
    assert (problem.code in ("writes-unavailable", "rate-limited")) == nothing
    assert problem.code in ("writes-unavailable", "rate-limited", "in-progress", "outcome-unknown")
