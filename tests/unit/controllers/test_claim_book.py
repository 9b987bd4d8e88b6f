"""Which claims fall due when, as a tenant partition's claims and pods come and go."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.controllers.claims import book as books
from services.controllers.claims.book import Cause, ClaimBook
from services.controllers.claims.facts import Claim
from services.controllers.pods import SeenPod

REVIEW_S, RETRY_S = 60.0, 5.0


def claim(uid: str, *, node: str = "n1", epoch: int = 0, created: float = 0.0) -> Claim:
    return Claim(uid, node, "tp-1", "acme", "default", f"pod-{uid}", epoch, created, 1)


def bound(uid: str, *, node: str = "n1", over: bool = False) -> SeenPod:
    return SeenPod(uid, node, over, 1)


def opened(pods: dict[str, SeenPod] | None = None) -> ClaimBook:
    made = ClaimBook(review_after_s=REVIEW_S, retry_after_s=RETRY_S)
    made.open(pods if pods is not None else {}, 0.0, 0.0)
    return made


def taken(book: ClaimBook, now: float, limit: int = 100) -> list[tuple[str, Cause]]:
    return [(question.claim.uid, question.cause) for question in book.take(limit, now)]


def test_a_claim_whose_pod_is_bound_at_its_node_is_never_asked_about() -> None:
    pods: dict[str, SeenPod] = {}
    book = opened(pods)
    book.claimed(claim("a"), 0.0)
    pods["a"] = bound("a")
    book.pod_changed("a", 1.0, gone=False)
    assert taken(book, 1e9) == [] and book.next_at() is None and book.unbound == 0


def test_a_claim_without_a_bound_pod_is_reviewed_after_its_time_and_no_sooner() -> None:
    book = opened()
    book.claimed(claim("a"), 10.0)
    assert book.next_at() == 70.0
    assert taken(book, 69.9) == []
    assert taken(book, 70.0) == [("a", Cause.REVIEW)]


def test_a_pod_that_ends_is_a_hint_at_once() -> None:
    pods = {"a": bound("a"), "b": bound("b"), "c": bound("c")}
    book = opened(pods)
    for uid in pods:
        book.claimed(claim(uid), 0.0)
    pods["a"] = bound("a", over=True)
    book.pod_changed("a", 1.0, gone=False)
    del pods["b"]
    book.pod_changed("b", 1.0, gone=True)
    pods["c"] = bound("c", node="n2")
    book.pod_changed("c", 1.0, gone=False)
    assert taken(book, 1.0) == [("a", Cause.HINT), ("b", Cause.HINT), ("c", Cause.HINT)]


def test_a_pod_that_ended_before_its_claim_was_seen_is_not_forgotten() -> None:
    book = opened()
    book.pod_changed("a", 1.0, gone=True)
    book.claimed(claim("a"), 2.0)
    assert taken(book, 2.0) == [("a", Cause.HINT)]


def test_ended_pods_are_remembered_within_bounds() -> None:
    book = opened()
    for number in range(books.ENDED_MAX + 10):
        book.pod_changed(f"u{number}", 0.0, gone=True)
    assert len(book._ended) == books.ENDED_MAX
    book.claimed(claim("u0"), 1.0)  # the oldest are forgotten: reviewed later instead
    book.claimed(claim("u500"), 1.0)
    assert taken(book, 1.0) == [("u500", Cause.HINT)]


def test_a_claim_made_again_begins_its_time_again() -> None:
    book = opened()
    book.claimed(claim("a"), 0.0)
    book.claimed(claim("a", epoch=1), 50.0)
    assert taken(book, 100.0) == [] and taken(book, 110.0) == [("a", Cause.REVIEW)]


def test_at_the_start_claims_older_than_the_period_are_due_and_others_keep_their_age() -> None:
    book = ClaimBook(review_after_s=REVIEW_S, retry_after_s=RETRY_S)
    for uid, created in (("old", 900.0), ("young", 990.0), ("bound", 0.0), ("ahead", 5000.0), ("over", 999.0)):
        book.claimed(claim(uid, created=created), 0.0)
    assert taken(book, 1e9) == []  # nothing is asked before the pods are known
    book.open({"bound": bound("bound"), "over": bound("over", over=True)}, 7.0, 1000.0)
    assert taken(book, 7.0) == [("over", Cause.HINT), ("old", Cause.REVIEW)]
    assert book.next_at() == 57.0
    assert taken(book, 57.0) == [("young", Cause.REVIEW)]
    assert taken(book, 67.0) == [("ahead", Cause.REVIEW)]  # a clock that is ahead delays by one period at most


def test_at_the_start_young_claims_without_a_pod_are_unsure_and_one_found_over_is_asked_about_at_once() -> None:
    book = ClaimBook(review_after_s=REVIEW_S, retry_after_s=RETRY_S)
    for uid, created in (("old", 900.0), ("over", 990.0), ("newer", 990.0), ("silent", 990.0), ("bound", 990.0)):
        book.claimed(claim(uid, created=created), 0.0)
    book.open({"bound": bound("bound")}, 7.0, 1000.0)
    book.claimed(claim("later"), 7.5)
    assert taken(book, 8.0) == [("old", Cause.REVIEW)]
    unsure = {one.uid: one for one in book.take_unsure(100)}
    assert set(unsure) == {"over", "newer", "silent"} and book.take_unsure(100) == []
    book.claimed(claim("newer", epoch=1), 9.0)
    for uid in ("over", "newer"):
        book.found_over(unsure[uid], 10.0)
    book.still_unsure([unsure["silent"], unsure["newer"]])
    assert taken(book, 10.0) == [("over", Cause.HINT)]
    assert [one.uid for one in book.take_unsure(100)] == ["silent"]
    book.close()
    book.found_over(unsure["silent"], 11.0)
    assert taken(book, 1e9) == []


def test_no_claim_is_asked_about_twice_at_a_time() -> None:
    book = opened()
    book.claimed(claim("a"), 0.0)
    [question] = book.take(10, 60.0)
    book.pod_changed("a", 61.0, gone=True)
    assert taken(book, 61.0) == []
    book.answered(question.claim.uid, 62.0)
    assert taken(book, 62.0) == [("a", Cause.HINT)]


def test_an_answered_claim_that_stays_is_reviewed_again() -> None:
    book = opened()
    book.claimed(claim("a"), 0.0)
    assert taken(book, 60.0) == [("a", Cause.REVIEW)]
    book.answered("a", 61.0)
    assert taken(book, 120.9) == [] and taken(book, 121.0) == [("a", Cause.REVIEW)]


def test_a_single_question_without_an_answer_waits_for_itself_only() -> None:
    book = opened()
    for uid in ("a", "b"):
        book.claimed(claim(uid), 0.0)
        book.pod_changed(uid, 1.0, gone=True)
    [first, second] = book.take(10, 1.0)
    book.unanswered(first, 2.0)
    book.put_back([second])
    assert taken(book, 2.0) == [("b", Cause.HINT)]
    assert book.next_at() == 7.0 and taken(book, 7.0) == [("a", Cause.HINT)]


def test_a_pod_that_is_bound_while_its_claim_is_asked_about_ends_the_question() -> None:
    pods: dict[str, SeenPod] = {}
    book = opened(pods)
    for uid in ("a", "b", "c"):
        book.claimed(claim(uid), 0.0)
    questions = book.take(10, 60.0)
    for uid in ("a", "b", "c"):
        pods[uid] = bound(uid)
        book.pod_changed(uid, 61.0, gone=False)
    book.answered("a", 62.0)
    book.unanswered(questions[1], 62.0)
    book.put_back(questions[2:])
    assert taken(book, 1e9) == [] and book.unbound == 0


def test_what_could_not_be_asked_keeps_its_age() -> None:
    book = opened()
    book.claimed(claim("a"), 0.0)
    book.pod_changed("a", 1.0, gone=True)
    book.put_back(book.take(10, 1.0))
    assert [question.since for question in book.take(10, 30.0)] == [1.0]


def test_an_ended_claim_leaves_nothing() -> None:
    book = opened()
    for number, uid in enumerate(("due", "later", "again", "asking")):
        book.claimed(claim(uid), float(number))
    book.pod_changed("again", 1.0, gone=True)
    book.unanswered(book.take(1, 1.0)[0], 1.0)
    book.pod_changed("asking", 1.0, gone=True)
    [asking] = book.take(1, 1.0)
    book.pod_changed("due", 1.0, gone=True)
    for uid in ("due", "later", "again", "asking"):
        book.ended(uid)
    book.answered(asking.claim.uid, 2.0)
    assert taken(book, 1e9) == [] and book.unbound == 0 and not book.claims


def test_a_closed_book_keeps_its_claims_and_asks_nothing_until_it_is_open_again() -> None:
    book = opened()
    book.claimed(claim("a"), 0.0)
    book.take(10, 60.0)
    book.close()
    book.claimed(claim("b"), 61.0)
    assert taken(book, 1e9) == [] and set(book.claims) == {"a", "b"}
    book.open({}, 100.0, 100.0)
    assert {uid for uid, _ in taken(book, 100.0)} == {"a", "b"}  # also the one whose answer never came


class Books(RuleBasedStateMachine):
    """Whatever happens: a claim whose pod is not at its node is due, waits, or is being asked about; no other is."""

    uids = st.sampled_from(["a", "b"])

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.pods: dict[str, SeenPod] = {}
        self.book = opened(self.pods)
        self.flying: list[books.Question] = []

    @rule(seconds=st.sampled_from([1.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(uid=uids, node=st.sampled_from(["n1", "n2"]))
    def claim(self, uid: str, node: str) -> None:
        self.book.claimed(claim(uid, node=node), self.now)

    @rule(uid=uids)
    def end(self, uid: str) -> None:
        self.book.ended(uid)

    @rule(uid=uids, node=st.sampled_from(["n1", "n2"]), over=st.booleans())
    def bind(self, uid: str, node: str, over: bool) -> None:
        self.pods[uid] = bound(uid, node=node, over=over)
        self.book.pod_changed(uid, self.now, gone=False)

    @rule(uid=uids)
    def delete(self, uid: str) -> None:
        if self.pods.pop(uid, None) is not None:
            self.book.pod_changed(uid, self.now, gone=True)

    @rule(limit=st.integers(1, 3))
    def take(self, limit: int) -> None:
        questions = self.book.take(limit, self.now)
        flying = {question.claim.uid for question in self.flying}
        assert not flying & {question.claim.uid for question in questions}
        self.flying += questions

    @precondition(lambda self: self.flying)
    @rule(how=st.sampled_from(["answered", "unanswered", "put back"]))
    def land(self, how: str) -> None:
        question = self.flying.pop(0)
        match how:
            case "answered":
                self.book.answered(question.claim.uid, self.now)
            case "unanswered":
                self.book.unanswered(question, self.now)
            case _:
                self.book.put_back([question])

    @invariant()
    def none_is_lost_and_none_too_many(self) -> None:
        waiting = {*self.book._due, *self.book._later._due, *self.book._again._due}
        flying = {question.claim.uid for question in self.flying}
        assert waiting <= set(self.book.claims)
        for uid, one in self.book.claims.items():
            pod = self.pods.get(uid)
            if pod is None or pod.over or pod.node != one.node:
                assert uid in waiting or uid in flying, f"{uid} is forgotten"
            else:
                assert uid not in waiting, f"{uid} is bound at its node"


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
