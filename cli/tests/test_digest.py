"""`savo digest`: the content of the digest, and its delivery through a real SMTP server."""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import async_playwright

from cli.tests.conftest import Savo
from cli.tests.small_gateway import SmallGateway
from savo_cli.weekly.mail import MailServer
from savo_cli.weekly.render import as_html, as_text, build_content
from savo_cli.weekly.schedule import DigestSender
from savo_runtime.command_line.output import CommandError
from tests.parts.addresses import free_port
from tests.parts.parts_table import record

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from aiosmtpd.controller import Controller
    from aiosmtpd.smtp import AuthResult, LoginPassword

NOW = datetime(2026, 11, 23, 7, 0, tzinfo=UTC)
WEEK = "2026-W48"


def goal(
    milestone: str, figure: str, target: float, now: float | None, bound: str = "at_least", **state: Any
) -> dict[str, Any]:
    reached = now is not None and (now >= target if bound == "at_least" else now <= target)
    due = (NOW + timedelta(days=30)).isoformat()
    return {
        "milestone": milestone,
        "figure": figure,
        "goal": target,
        "now": now,
        "bound": bound,
        "due": due,
        "reached": reached,
        "on_course": reached,
    } | state


def measured(estimate: float | None, target: float, verdict: str | None) -> dict[str, Any]:
    return {"estimate": estimate, "lower": None, "upper": None, "target": target, "verdict": verdict}


def arm(scans: int, figures: tuple[float | None, ...], verdict: str | None) -> dict[str, Any]:
    targets = {"accuracy": 0.8, "correction_rate": 0.3, "latency_p95_ms": 1000, "cost_usd": 0.1, "failures": 0.02}
    return {
        "scans": scans,
        **{
            name: measured(value, target, verdict)
            for (name, target), value in zip(targets.items(), figures, strict=True)
        },
    }


STATS = {
    "total_samples": 12_340, "samples_today": 12, "samples_this_week": 12, "average_detections_per_image": 4.2,
    "correction_rate": 0.2431, "storage_size_mb": 5_912.4, "last_updated": "2026-11-23T06:59:00Z",
}  # fmt: skip
PROGRESS: dict[str, Any] = {
    "started_at": "2026-10-01T00:00:00Z",
    "goals": [
        goal("month 1", "samples", 10_000, 12_340),
        goal("month 1", "correction_rate", 0.3, 0.2431, "at_most"),
        goal("month 2", "samples", 50_000, 12_340, on_course=False),
        goal("month 2", "storage_mb", 25_000, 5_912.4, "at_most"),
        goal("month 3", "map50", 0.75, None, on_course=None),
        goal("month 3", "unique_ingredients", 50, 37, on_course=True),
        goal("month 3", "cost_per_scan_usd", 0.5, 0.0123, "at_most"),
        goal("month 3", "automated_retraining", 0, 1),
        goal("target", "map50", 0.85, None, "more_than", due=None, on_course=None),
    ],
    "refused_by_reason": {"blurred": 31, "duplicate": 12, "upload-too-large": 2},
    "per_class": {
        "tomato": 900,
        "milk": 812,
        "egg": 640,
        "red_onion": 77,
        **{f"ingredient_{number}": 5 for number in range(20)},
    },
    "map50_by_version": {"v1": 0.761, "v2": 0.802},
    "runs": [
        {
            "outcome": "registered",
            "version": "v2",
            "map50": 0.802,
            "train_samples": 8_600,
            "reasons": [],
            "next_steps": ["watch the rollout"],
        }
    ],
    "samples_by_day": {(NOW - timedelta(days=back)).date().isoformat(): 40 + back * back % 97 for back in range(1, 20)},
    "samples_last_week": 331,
    "scans_last_week": 3_120,
    "spent_last_week_usd": 38.4,
    "reference_cost_usd": 1.5,
    "provider_cost_usd": 0.0163,
    "cost_reduction": 0.9918,
    "cost_reduction_to_provider": 0.2454,
    "cost_reduction_goal": 0.99,
}
CORRECTIONS = {
    "weeks": [f"2026-W{week}" for week in range(41, 49)],
    "corrections": [
        {"model_version": "v2", "from_label": "tomato", "label": "cherry_tomato", "items": 1_012, "of": 9_000,
         "share": 0.1124, "trend": 0.031, "by_week": {"2026-W48": 12}},
        {"model_version": "v1", "from_label": None, "label": "milk", "items": 3, "of": 90,
         "share": 0.0333, "trend": None, "by_week": {}},
    ],
}  # fmt: skip
ROLLOUT = {
    "state": "running", "experiment": "v2", "share": 0.25, "champion": {"version": "v1"},
    "reason": "v2 from 5 % to 25 %: every gate held",
    "waiting_for": ["41 more confirmed scans of the candidate in this step"],
    "arms": {
        "candidate": arm(780, (0.871, 0.221, 412, 0.0004, 0.001), "pass"),
        "baseline": arm(2_340, (0.842, 0.262, 921, 0.0163, None), None),
    },
}  # fmt: skip
NOTHING_YET: dict[str, Any] = PROGRESS | {
    "started_at": None, "goals": [goal("week 1", "samples", 100, 0, due=None, on_course=None)],
    "refused_by_reason": {}, "per_class": {}, "map50_by_version": {}, "runs": [], "samples_by_day": {},
    "samples_last_week": 0, "scans_last_week": 0, "spent_last_week_usd": 0.0,
    "provider_cost_usd": None, "cost_reduction": None, "cost_reduction_to_provider": None,
}  # fmt: skip


def rendered_digests(progress: dict[str, Any] = PROGRESS, rollout: dict[str, Any] | None = ROLLOUT) -> tuple[str, str]:
    digest = build_content(STATS, progress, rollout, now=NOW, url="https://savo.example", corrections=CORRECTIONS)
    return as_text(digest), as_html(digest)


# content --------------------------------------------------------------------------------------------------------------


def test_text_and_html_contain_the_same_figures() -> None:
    for digest in rendered_digests():
        for text in (
            WEEK, "12,340 samples", "331 of them from the last seven days", "5 of 9 goals are reached", "1 is behind",
            "24.3%", "no figure yet", "running: v2 at 25% against v1", "41 more confirmed scans", "87.1%", "921 ms",
            "$0.0163", "$38.40", "$1.50", "0.802", "99.2% less", "goal 99%", "24.5% less", "goal manual", "&gt; 0.850",
            "no date", "~85%", "~80%+", "1200ms", "&lt; 800ms", "&lt; 35%", "$0.01",
            "tomato → cherry tomato", "1,012 of 9,000", "(11.2%)", "rising", "nothing → milk",
            "watch the rollout", "red onion", "blurred", "https://savo.example/training/stats",
        ):  # fmt: skip
            assert text in digest or unescape(text) in digest, text


def test_the_bars_of_costs_end_at_the_target_and_not_at_the_first_goal() -> None:
    digest = build_content(STATS, PROGRESS, ROLLOUT, now=NOW, url="https://savo.example")
    assert {bar.label: bar.share for bar in digest.costs}["baseline"] == pytest.approx(0.163)


def test_without_any_figures_there_is_a_digest_too() -> None:
    for digest in rendered_digests(
        NOTHING_YET,
        {"state": "idle", "experiment": None, "share": 0.0, "champion": None, "reason": "no model is registered yet"},
    ):
        for text in ("idle: the vision provider answers everything", "No training run has ended yet", "not started"):
            assert text in digest


def test_a_model_by_path_has_its_share_before_its_first_scan() -> None:
    pinned = {"state": "pinned", "experiment": None, "share": 0.5, "champion": None, "reason": "by path: best.onnx"}
    for digest in rendered_digests(NOTHING_YET, pinned):
        assert "pinned: the model by path, before its first scan, at 50% against the vision provider" in digest
    content = build_content(STATS, PROGRESS, pinned, now=NOW, url="https://savo.example")
    assert content.subject.endswith("custom model at 50%")


def test_a_digest_without_the_rollout_service_mentions_it() -> None:
    for digest in rendered_digests(rollout=None):
        assert "The rollout service did not answer" in digest


def test_markup_in_a_reason_is_escaped_in_the_html() -> None:
    _, html = rendered_digests(rollout=ROLLOUT | {"reason": "<script>alert(1)</script>"})
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_the_html_uses_only_what_mail_clients_support() -> None:
    _, html = rendered_digests()
    assert not re.search(
        r"<(script|link|style|img|svg|form)\b|display:\s*(flex|grid)|position:|https?://(?!savo\.example)", html
    )
    assert len(html) < 102_000, "Gmail cuts what is longer"


@pytest.mark.browser
async def test_the_digest_fits_a_phone_and_a_desktop(tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        record("Chromium", "skipped", "no chromium on this machine")
        pytest.skip("no chromium on this machine")
    record("Chromium", "real")
    (tmp_path / "digest.html").write_text(rendered_digests()[1], encoding="utf-8")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width in (320, 390, 1200):
            view = await browser.new_page(viewport={"width": width, "height": 900})
            await view.goto((tmp_path / "digest.html").as_uri())
            assert await view.evaluate("document.documentElement.scrollWidth") <= width
        await browser.close()


# delivery -------------------------------------------------------------------------------------------------------------


class Inbox:
    """The mails that the test's SMTP server accepted."""

    def __init__(self, refuses: str = "") -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.was_encrypted: list[bool] = []
        self._refuses = refuses

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:
        if self._refuses and self._refuses in address:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, _session: Any, envelope: Any) -> str:
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        self.recipients.append(list(envelope.rcpt_tos))
        self.was_encrypted.append(server.transport.get_extra_info("ssl_object") is not None)
        return "250 OK"


@contextmanager
def smtp_server(inbox: Inbox, **options: Any) -> Iterator[int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        controller = Controller(inbox, hostname="127.0.0.1", port=free_port(), ready_timeout=90, **options)
        controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def figures(gateway: SmallGateway) -> SmallGateway:
    gateway.answers_with("GET", "/training/stats", STATS)
    gateway.answers_with("GET", "/training/progress", PROGRESS)
    gateway.answers_with("GET", "/admin/rollout", ROLLOUT)
    return gateway


def this_week() -> str:
    return "{}-W{:02}".format(*datetime.now(UTC).isocalendar()[:2])


@pytest.fixture
def week(figures: SmallGateway) -> str:
    """This week, free to be claimed."""
    figures.answers_with("POST", f"/admin/digests/{this_week()}", {"week": this_week()}, status=201)
    figures.answers_with("DELETE", f"/admin/digests/{this_week()}", {})
    return this_week()


@pytest.fixture
def configure_mail(monkeypatch: pytest.MonkeyPatch) -> Any:
    def to(url: str, recipients: str = "owner@example.com, team@example.com") -> None:
        monkeypatch.setenv("SMTP_URL", url)
        monkeypatch.setenv("SAVO_DIGEST_TO", recipients)
        monkeypatch.setenv("SAVO_DIGEST_FROM", "Savo <savo@example.com>")

    return to


def claims(gateway: SmallGateway) -> list[tuple[str, str]]:
    return [(method, path) for method, path, *_ in gateway.requests if path.startswith("/admin/digests")]


def test_it_is_printed_as_text_written_as_html_and_printed_as_json(
    savo: Savo, figures: SmallGateway, tmp_path: Path
) -> None:
    assert "12,340 samples" in savo("digest").output
    written = savo("digest", "--html", "week.html")
    assert written.exit_code == 0
    assert "written to week.html" in written.output
    assert "12,340 samples" in (tmp_path / "week.html").read_text()
    assert json.loads(savo("digest", "--json").stdout)["letter"]["rollout"] == "running: v2 at 25% against v1"


def test_its_link_is_the_public_url_or_the_gateway_of_the_command(
    savo: Savo, figures: SmallGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"{figures.url}/training/stats" in savo("digest").output
    monkeypatch.setenv("SAVO_PUBLIC_URL", "https://savo.example.com/")
    digest = savo("digest").output
    assert "https://savo.example.com/training/stats" in digest
    assert figures.url not in digest


def test_it_is_sent_as_text_and_html_to_everyone_and_the_week_is_claimed(
    savo: Savo, figures: SmallGateway, week: str, inbox: Inbox, configure_mail: Any
) -> None:
    with smtp_server(inbox) as port:
        configure_mail(f"smtp://127.0.0.1:{port}")
        sent = savo("digest", "--send")
    assert sent.exit_code == 0, sent.output
    assert f"{week}: sent to 2 addresses" in sent.output
    (mail,) = inbox.mails
    assert inbox.recipients == [["owner@example.com", "team@example.com"]]
    assert (mail["From"], mail["Message-ID"]) == ("Savo <savo@example.com>", f"<savo-digest-{week}@example.com>")
    assert mail["Subject"].startswith(f"Savo, {week}: ")
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert html is not None
    assert "12,340 samples" in text.get_content()
    assert "12,340 samples" in html.get_content()
    assert claims(figures) == [("POST", f"/admin/digests/{week}")]


def test_a_week_is_sent_twice_only_with_again(
    savo: Savo, figures: SmallGateway, week: str, inbox: Inbox, configure_mail: Any
) -> None:
    figures.refuses(
        "POST", f"/admin/digests/{week}", 409, "digest-sent", f"the digest of {week} was sent at 2026-11-23 07:00 UTC"
    )
    with smtp_server(inbox) as port:
        configure_mail(f"smtp://127.0.0.1:{port}")
        repeated = savo("digest", "--send", "--json")
        assert repeated.exit_code == 0
        assert json.loads(repeated.stdout)["sent"] is False
        assert "--again sends it once more" in json.loads(repeated.stdout)["why"]
        assert inbox.mails == []
        assert json.loads(savo("digest", "--send", "--again", "--json").stdout)["sent"] is True
    assert len(inbox.mails) == 1


def test_a_mail_without_an_accepted_recipient_releases_the_week(
    savo: Savo, figures: SmallGateway, week: str, configure_mail: Any
) -> None:
    with smtp_server(Inbox(refuses="@")) as port:
        configure_mail(f"smtp://127.0.0.1:{port}")
        refused = savo("digest", "--send")
    assert refused.exit_code == 1
    assert "550 no such user" in refused.output
    assert "check SAVO_DIGEST_TO" in refused.output
    assert claims(figures) == [("POST", f"/admin/digests/{week}"), ("DELETE", f"/admin/digests/{week}")]


def test_a_refused_address_is_named_and_the_others_receive_the_mail(savo: Savo, week: str, configure_mail: Any) -> None:
    with smtp_server(inbox := Inbox(refuses="team")) as port:
        configure_mail(f"smtp://127.0.0.1:{port}")
        sent = json.loads(savo("digest", "--send", "--json").stdout)
    assert (sent["sent"], sent["to"], sent["refused"]) == (True, 1, ["team@example.com"])
    assert inbox.recipients == [["owner@example.com"]]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    pem, key = folder / "cert.pem", folder / "key.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", pem, *names],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    return pem, context


def login(_server: Any, _session: Any, _envelope: Any, _mechanism: str, credentials: Any) -> Any:
    return AuthResult(
        success=isinstance(credentials, LoginPassword)
        and (credentials.login, credentials.password) == (b"savo", b"pass@word"),
        handled=False,
    )


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS", "ignore:Session.login_data")
@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_a_password_is_sent_over_tls_only(
    savo: Savo,
    week: str,
    inbox: Inbox,
    configure_mail: Any,
    certificate: Any,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
) -> None:
    pem, context = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    options = {"ssl_context": context} if scheme == "smtps" else {"tls_context": context}
    with smtp_server(
        inbox, authenticator=login, auth_required=True, auth_require_tls=scheme == "smtp", **options
    ) as port:
        configure_mail(f"{scheme}://savo:pass%40word@127.0.0.1:{port}")
        sent = savo("digest", "--send")
        assert sent.exit_code == 0, sent.output
        configure_mail(f"{scheme}://savo:wrong-password@127.0.0.1:{port}")
        refused = savo("digest", "--send")
    assert inbox.was_encrypted == [True]
    assert refused.exit_code == 1
    assert "refused the login of 'savo'" in refused.output
    assert "wrong-password" not in refused.output


def test_a_password_is_not_sent_in_the_clear(savo: Savo, week: str, inbox: Inbox, configure_mail: Any) -> None:
    with smtp_server(inbox) as port:
        configure_mail(f"smtp://savo:secret@127.0.0.1:{port}")
        refused = savo("digest", "--send")
    assert refused.exit_code == 1
    assert "not sent in the clear" in refused.output
    assert inbox.mails == []


def test_an_unknown_certificate_is_refused_with_the_next_step(
    savo: Savo, week: str, inbox: Inbox, configure_mail: Any, certificate: Any
) -> None:
    with smtp_server(inbox, ssl_context=certificate[1]) as port:
        configure_mail(f"smtps://127.0.0.1:{port}")
        refused = savo("digest", "--send")
    assert refused.exit_code == 1
    assert "SSL_CERT_FILE" in refused.output
    assert inbox.mails == []


def test_without_a_recipient_or_a_server_it_names_the_missing_settings(
    savo: Savo, week: str, configure_mail: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SMTP_URL", "SAVO_DIGEST_TO"):
        monkeypatch.delenv(name, raising=False)
    nowhere = savo("digest", "--send")
    assert nowhere.exit_code == 1
    assert "set SMTP_URL" in nowhere.output
    configure_mail("smtp://127.0.0.1:1")
    assert "check host, port and smtp/smtps in SMTP_URL" in savo("digest", "--send").output


@pytest.mark.parametrize(
    "url", ["mail.example.com", "http://mail.example.com", "smtp://:25", "smtp://mail.example.com:no-port"]
)
def test_an_invalid_server_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(CommandError, match="SMTP_URL makes no sense") as refusal:
        MailServer.of(url)
    assert url not in str(refusal.value)


def test_the_default_ports_are_the_standard_ones() -> None:
    urls = ("smtp://h", "smtp://u:p@h", "smtps://u:p@h", "smtp://h:1025")
    assert [MailServer.of(url).port for url in urls] == [25, 587, 465, 1025]


@pytest.mark.real
@pytest.mark.slow
async def test_savo_up_sends_it_with_a_key_that_is_revoked_afterwards(
    savo: Savo, figures: SmallGateway, week: str, inbox: Inbox, configure_mail: Any, tmp_path: Path
) -> None:
    environment = dict(os.environ) | {"SAVO_DATA_DIR": str(tmp_path / "savo")}
    with smtp_server(inbox) as port:
        configure_mail(f"smtp://127.0.0.1:{port}")
        environment |= {name: os.environ[name] for name in ("SMTP_URL", "SAVO_DIGEST_TO", "SAVO_DIGEST_FROM")}
        assert await DigestSender(figures.url, environment, needs_key=True)() == ""
    assert [mail["Message-ID"] for mail in inbox.mails] == [f"<savo-digest-{week}@example.com>"]
    headers = [{name.lower(): value for name, value in request[3].items()} for request in figures.requests]
    assert len({each["x-api-key"] for each in headers}) == 1
    listed = subprocess.run(
        [sys.executable, "-m", "savo_cli", "keys", "list", "--json"],
        env=environment,
        capture_output=True,
        check=True,
    )
    (key,) = json.loads(listed.stdout)
    assert (key["name"], key["scopes"]) == ("weekly digest", ["ops", "training"])
    assert key["revoked_at"] is not None


@pytest.mark.slow
async def test_an_error_of_the_mail_server_is_returned_in_one_line(
    figures: SmallGateway, week: str, configure_mail: Any
) -> None:
    configure_mail("smtp://127.0.0.1:1")
    error = await DigestSender(figures.url, dict(os.environ), needs_key=False)()
    assert "check host, port and smtp/smtps in SMTP_URL" in error
    assert claims(figures)[-1][0] == "DELETE"
