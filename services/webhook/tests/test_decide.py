"""How a delivery is signed, what an answer means, and what an endpoint may say."""

import base64
import json
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from reprise.webhook import decide
from reprise.webhook.decide import Again, Delivered, Gone
from reprise.webhook.model import Answer, Disabled, Endpoint, Endpoints, overlap
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

OLD, NEW = ("whsec_" + base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
NOW_S = 1_800_000_000.0


def endpoint(**changed: Any) -> Endpoint:
    return Endpoint(**({"name": "pager", "url": "https://example.com/hook?token=t", "secrets": [NEW]} | changed))


class TestSigning:
    """Verified by Standard Webhooks' own library, not by ours."""

    @staticmethod
    def sent(of: Endpoint, body: bytes, event_id: str = "01JDE") -> dict[str, str]:
        return decide.headers(of, event_id, int(datetime.now(UTC).timestamp()), body)

    @given(st.dictionaries(st.text(), st.text()))
    def test_a_receiver_can_verify_it(self, body: dict[str, str]) -> None:
        payload = json.dumps(body).encode()
        assert Webhook(NEW).verify(payload, self.sent(endpoint(), payload)) == body

    def test_while_a_secret_is_replaced_either_verifies(self) -> None:
        headers = self.sent(endpoint(secrets=[NEW, OLD]), b"{}")
        for secret in (NEW, OLD):
            assert Webhook(secret).verify(b"{}", headers) == {}

    @pytest.mark.parametrize(
        ("body", "changed"),
        [(b'{"a":2}', {}), (b'{"a":1}', {"webhook-id": "other"}), (b'{"a":1}', {"webhook-timestamp": "1"})],
    )
    def test_what_was_changed_or_is_old_does_not_verify(self, body: bytes, changed: dict[str, str]) -> None:
        headers = self.sent(endpoint(), b'{"a":1}') | changed
        with pytest.raises(WebhookVerificationError):
            Webhook(NEW).verify(body, headers)

    def test_the_documentations_own_verification_agrees(self) -> None:
        page = (Path(__file__).parents[3] / "docs/webhooks.md").read_text()
        told: dict[str, Any] = {}
        exec(page.partition("Or by hand:\n\n```python\n")[2].partition("```")[0], told)  # the page is ours
        headers = self.sent(endpoint(secrets=[NEW, OLD]), b"{}")
        assert told["verify"](OLD, headers, b"{}")
        assert not told["verify"](OLD, headers, b"{ }")
        assert not told["verify"](OLD, headers | {"webhook-timestamp": "1"}, b"{}")

    @given(st.text(min_size=1))
    def test_no_id_can_break_the_headers_or_what_is_signed(self, event_id: str) -> None:
        webhook_id = decide.headers(endpoint(), event_id, 1, b"")["webhook-id"]
        assert webhook_id.isascii()
        assert not set(webhook_id) & set(".\r\n \t")


class TestAnswers:
    @pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
    def test_taken(self, status: int) -> None:
        assert decide.verdict(Answer(status), 1, NOW_S, 0.5) == Delivered()

    def test_gone(self) -> None:
        assert decide.verdict(Answer(410), 1, NOW_S, 0.5) == Gone()

    @pytest.mark.parametrize(
        ("answer", "why"),
        [
            (Answer(500), "it answered 500"),
            (Answer(401), "it answered 401"),
            (Answer(302), "redirects are not followed"),
            (Answer(error="it did not answer within 10 s"), "did not answer"),
        ],
    )
    def test_not_taken(self, answer: Answer, why: str) -> None:
        verdict = decide.verdict(answer, 1, NOW_S, 0.5)
        assert isinstance(verdict, Again)
        assert why in verdict.why

    def test_the_delays_grow_to_an_hour_and_twenty_attempts_are_about_fourteen_hours(self) -> None:
        delays = [decide.backoff_s(attempt, 0.5) for attempt in range(1, 20)]
        assert delays[:5] == [1, 5, 25, 125, 625]
        assert delays[6:] == [3600] * 13
        assert 13 < sum(delays) / 3600 < 15

    @given(st.integers(1, 10**9), st.floats(0, 1))
    def test_a_delay_is_never_absurd(self, attempt: int, chance: float) -> None:
        assert 0.8 <= decide.backoff_s(attempt, chance) <= 1.21 * 3600

    def test_an_endpoint_may_ask_for_longer_and_not_for_shorter(self) -> None:
        asked = [decide.verdict(Answer(503, retry_after=text), 3, NOW_S, 0.5) for text in ("100", "1", "")]
        assert [v.after_s for v in asked if isinstance(v, Again)] == [100, 25, 25]

    def test_a_date_is_understood(self) -> None:
        date = format_datetime(datetime.fromtimestamp(NOW_S + 90, UTC), usegmt=True)
        assert decide.retry_after_s(date, NOW_S) == 90

    @pytest.mark.parametrize(("text", "seconds"), [("-5", 0), ("soon", 0), ("9" * 400, 3600), ("1e9", 0), ("٣", 0), (" 7 ", 7)])
    def test_nonsense_is_nothing_and_for_ever_is_an_hour(self, text: str, seconds: float) -> None:
        assert decide.retry_after_s(text, NOW_S) == seconds

    @given(st.text())
    def test_no_header_breaks_it(self, text: str) -> None:
        assert 0 <= decide.retry_after_s(text, NOW_S) <= decide.MAX_DELAY_S


class TestAddresses:
    @pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
    def test_public(self, address: str) -> None:
        assert not decide.refusal(address, private=False)

    @pytest.mark.parametrize(
        "address", ["10.0.0.1", "127.0.0.1", "192.168.1.1", "fd00::1", "::1", "::ffff:10.0.0.1", "100.64.0.1"]
    )
    def test_private_only_if_it_is_meant(self, address: str) -> None:
        assert "private: true" in decide.refusal(address, private=False)
        assert not decide.refusal(address, private=True)

    @pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "0.0.0.0", "224.0.0.1", "::ffff:169.254.169.254"])
    def test_never(self, address: str) -> None:
        assert decide.refusal(address, private=True)


class TestEndpoints:
    def test_all_events_if_it_says_nothing(self) -> None:
        assert endpoint().subjects == ("reprise.v1.>",)

    @pytest.mark.parametrize(
        ("changed", "says"),
        [
            ({"url": "http://example.com"}, "https://"),
            ({"url": "https://"}, "https://"),
            ({"url": "https://example.com:port"}, "Port"),
            ({"secrets": ["whsec_c2hvcnQ="]}, "24 to 64 random bytes"),
            ({"secrets": ["a word"]}, "whsec_"),
            ({"secrets": []}, "at least 1"),
            ({"name": "Pager One"}, "pattern"),
            ({"subjects": ["reprise.v2.>"]}, "not a subject"),
            ({"subjects": ["reprise.v1.>.lost"]}, "not a subject"),
            ({"subjects": ["reprise.v1.failover.>", "reprise.v1.*.completed.>"]}, "overlap"),
            ({"subject": ["reprise.v1.>"]}, "Extra inputs"),
        ],
    )
    def test_what_it_may_not_say_is_named_and_no_secret_is_told(self, changed: dict[str, Any], says: str) -> None:
        with pytest.raises(ValidationError, match=says) as refused:
            endpoint(**changed)
        assert NEW not in str(refused.value)
        assert "a word" not in str(refused.value)

    def test_a_name_is_given_once(self) -> None:
        with pytest.raises(ValidationError, match="pager is given twice"):
            Endpoints(endpoints=(endpoint(), endpoint(url="https://example.org")))

    @pytest.mark.parametrize(
        ("one", "other", "meet"),
        [("a.b", "a.b", True), ("a.*", "a.b", True), ("a.>", "a.b.c", True), ("a.b", "a.c", False), ("a.b", "a.b.c", False),
         ("*.b", "a.*", True), ("a.>", "a", False), ("a.>", "b.>", False)],
    )  # fmt: skip
    def test_whether_two_patterns_can_meet(self, one: str, other: str, meet: bool) -> None:
        assert overlap(one, other) == overlap(other, one) == meet

    def test_disabled_is_an_address_not_a_name(self) -> None:
        record = Disabled(url_digest=decide.url_digest(endpoint()), at="")
        assert decide.is_disabled(endpoint(), record)
        assert decide.is_disabled(endpoint(secrets=[OLD]), record)
        assert not decide.is_disabled(endpoint(url="https://example.com/other"), record)
        assert not decide.is_disabled(endpoint(), None)
