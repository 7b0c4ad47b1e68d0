"""`savo digest`: the weekly digest, printed, written to a file or sent by mail."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from savo_cli.gateway import Gateway, RefusedError
from savo_cli.options import AsJson, Key, Url
from savo_cli.weekly.mail import MailServer, compose, send_mail
from savo_cli.weekly.render import DigestContent, as_html, as_text, build_content
from savo_cli.weekly.settings import DigestSettings
from savo_runtime.command_line.output import CommandError, print_json, reported_errors, table_console
from savo_runtime.settings import load_settings
from savo_runtime.timing.clock import utc_now

__all__ = ["digest"]

NOT_FOUND, CONFLICT, NO_ANSWER = 404, 409, 503


@reported_errors()
def digest(
    send: Annotated[
        bool, typer.Option("--send", help="Send it through SMTP_URL to SAVO_DIGEST_TO, once a week.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="With --send: even if this week's was sent.")] = False,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write it as HTML to this file.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Report progress against the goals, arms, costs and models of the last seven days."""
    with Gateway(url, key) as gateway:
        content = _content(gateway)
        outcome: dict[str, Any] = {"week": content.week, "subject": content.subject, "headline": content.headline}
        if html:
            _write(html, as_html(content))
            outcome["html"] = str(html)
        if send:
            outcome |= _send(gateway, content, again=again)
        if as_json:
            print_json(outcome if send else outcome | {"letter": _as_json(content)})
        else:
            table_console().print(_summary(outcome) if send or html else as_text(content), markup=False)


def _content(gateway: Gateway) -> DigestContent:
    """From the gateway's figures. The arms are left out if the rollout service does not answer."""
    address = load_settings(DigestSettings).public_url or gateway.url
    stats, progress = gateway.get("/training/stats"), gateway.get("/training/progress")
    try:
        rollout = gateway.get("/admin/rollout")
    except RefusedError as refusal:
        if refusal.status != NO_ANSWER:
            raise
        rollout = None
    return build_content(
        stats, progress, rollout, now=utc_now(), url=address.rstrip("/"), corrections=_corrections(gateway)
    )


def _corrections(gateway: Gateway) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = gateway.get("/training/corrections")
    except RefusedError as refusal:
        if refusal.status != NOT_FOUND:
            raise
        return None  # a gateway of an older release, in a rolling upgrade
    return found


def _send(gateway: Gateway, content: DigestContent, *, again: bool) -> dict[str, Any]:
    """Send the digest once a week.

    The week is claimed before the mail is sent, so that two commands at once send one mail. The claim is given back
    when the mail server accepts no recipient.
    """
    settings = load_settings(DigestSettings)
    if settings.smtp_url is None or not settings.recipients:
        missing = "set SMTP_URL (smtps://USER:PASSWORD@HOST) and SAVO_DIGEST_TO (ADDRESS,ADDRESS)"
        raise CommandError(f"the digest has no mail server or no recipient: {missing}")
    server = MailServer.of(settings.smtp_url.get_secret_value())
    sender = settings.digest_from or f"Savo <savo@{server.host}>"
    message = compose(
        content.subject,
        as_text(content),
        as_html(content),
        sender=sender,
        recipients=settings.recipients,
        week=content.week,
        now=utc_now(),
    )
    try:
        if not again:
            gateway.post(f"/admin/digests/{content.week}", {})
    except RefusedError as refusal:
        if refusal.status != CONFLICT:
            raise
        return {"sent": False, "why": f"{refusal.detail}; --again sends it once more"}
    try:
        refused = send_mail(message, server)
    except BaseException:
        if not again:
            gateway.delete(f"/admin/digests/{content.week}")
        raise
    return {"sent": True, "to": len(settings.recipients) - len(refused), "refused": refused}


def _summary(outcome: dict[str, Any]) -> str:
    lines = [f"written to {outcome['html']}"] if "html" in outcome else []
    if outcome.get("sent"):
        lines.append(f"{outcome['week']}: sent to {outcome['to']} {'address' if outcome['to'] == 1 else 'addresses'}")
        lines += [f"refused by the mail server: {address}" for address in outcome["refused"]]
    elif "sent" in outcome:
        lines.append(f"not sent: {outcome['why']}")
    return "\n".join(lines)


def _as_json(content: DigestContent) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(asdict(content), default=str))
    return document


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        problem = f"cannot write the digest to {path}: {error.strerror or error}"
        raise CommandError(f"{problem}; choose another path with --html") from error
