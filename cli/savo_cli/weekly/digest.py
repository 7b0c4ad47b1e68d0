"""`savo digest`: the week in a letter, here or by mail."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from savo_cli.gateway import Gateway, RefusedError
from savo_cli.options import AsJson, Key, Url
from savo_cli.weekly.letter import Letter, as_html, as_text, write_letter
from savo_cli.weekly.mail import MailServer, compose, post
from savo_cli.weekly.settings import DigestSettings
from savo_runtime.command_line.output import CommandError, print_json, reported_errors, table_console
from savo_runtime.settings import load_settings
from savo_runtime.timing.clock import utc_now

__all__ = ["digest"]

CONFLICT, NO_ANSWER = 409, 503


@reported_errors()
def digest(
    send: Annotated[bool, typer.Option("--send", help="Mail it by SMTP_URL to SAVO_DIGEST_TO, once a week.")] = False,
    again: Annotated[bool, typer.Option("--again", help="With --send: though this week's was sent.")] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write it as HTML to this file.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Progress against the goals, arms, costs and models of the last seven days."""
    with Gateway(url, key) as gateway:
        letter = _written(gateway)
        told: dict[str, Any] = {"week": letter.week, "subject": letter.subject, "headline": letter.headline}
        if html:
            _write(html, as_html(letter))
            told["html"] = str(html)
        if send:
            told |= _send(gateway, letter, again=again)
        if as_json:
            print_json(told if send else told | {"letter": _plain(letter)})
        else:
            table_console().print(_said(told) if send or html else as_text(letter), markup=False)


def _written(gateway: Gateway) -> Letter:
    address = load_settings(DigestSettings).public_url or gateway.url
    stats, progress = gateway.get("/training/stats"), gateway.get("/training/progress")
    try:
        rollout = gateway.get("/admin/rollout")
    except RefusedError as refusal:
        if refusal.status != NO_ANSWER:
            raise
        rollout = None
    return write_letter(stats, progress, rollout, now=utc_now(), url=address.rstrip("/"))


def _send(gateway: Gateway, letter: Letter, *, again: bool) -> dict[str, Any]:
    """The week is claimed before the mail goes: two that send at once are one mail. A mail that nobody took gives the claim back."""
    settings = load_settings(DigestSettings)
    if settings.smtp_url is None or not settings.recipients:
        raise CommandError("there is nowhere to send it: set SMTP_URL (smtps://USER:PASSWORD@HOST) and SAVO_DIGEST_TO (ADDRESS,ADDRESS)")
    server = MailServer.of(settings.smtp_url.get_secret_value())
    sender = settings.digest_from or f"Savo <savo@{server.host}>"
    message = compose(letter.subject, as_text(letter), as_html(letter), sender=sender, recipients=settings.recipients, week=letter.week, now=utc_now())
    try:
        if not again:
            gateway.post(f"/admin/digests/{letter.week}", {})
    except RefusedError as refusal:
        if refusal.status != CONFLICT:
            raise
        return {"sent": False, "why": f"{refusal.detail}; --again sends it once more"}
    try:
        refused = post(message, server)
    except BaseException:
        if not again:
            gateway.delete(f"/admin/digests/{letter.week}")
        raise
    return {"sent": True, "to": len(settings.recipients) - len(refused), "refused": refused}


def _said(told: dict[str, Any]) -> str:
    lines = [f"written to {told['html']}"] if "html" in told else []
    if told.get("sent"):
        lines.append(f"{told['week']}: sent to {told['to']} {'address' if told['to'] == 1 else 'addresses'}")
        lines += [f"refused by the mail server: {address}" for address in told["refused"]]
    elif "sent" in told:
        lines.append(f"not sent: {told['why']}")
    return "\n".join(lines)


def _plain(letter: Letter) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(letter), default=str))
    return plain


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}") from error
