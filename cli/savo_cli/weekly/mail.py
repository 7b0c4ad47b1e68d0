"""The weekly letter onto its way: SMTP with TLS, and a line with the next step for each way to fail."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from urllib.parse import unquote, urlsplit

from savo_runtime.command_line.output import CommandError

__all__ = ["MailServer", "compose", "post"]

SECONDS = 30.0
FORM = "smtp://[USER:PASSWORD@]HOST[:PORT] or smtps://…"


@dataclass(frozen=True)
class MailServer:
    host: str
    port: int
    tls_from_the_start: bool
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, url: str) -> MailServer:
        """Raises `CommandError`, without the URL in it: it may hold a password."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise CommandError(f"SMTP_URL makes no sense: allowed is {FORM}") from error
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise CommandError(f"SMTP_URL makes no sense: allowed is {FORM}")
        is_tls = parts.scheme == "smtps"
        user, password = (unquote(part) if part else None for part in (parts.username, parts.password))
        return cls(parts.hostname, port or (465 if is_tls else 587 if user else 25), is_tls, user, password)


def compose(subject: str, text: str, html: str, *, sender: str, recipients: Sequence[str], week: str, now: datetime) -> EmailMessage:
    """Raises `CommandError` for an address that is none."""
    for address in (sender, *recipients):
        if "@" not in parseaddr(address)[1]:
            raise CommandError(f"{address!r} is no mail address: look at SAVO_DIGEST_TO and SAVO_DIGEST_FROM")
    message = EmailMessage()
    message["Subject"], message["From"], message["To"], message["Date"] = subject, sender, ", ".join(recipients), format_datetime(now)
    # The same for each try of a week: mail servers know a repeat by it.
    message["Message-ID"] = f"<savo-digest-{week}@{parseaddr(sender)[1].rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    message.add_alternative(html, subtype="html")
    return message


def post(message: EmailMessage, server: MailServer) -> list[str]:
    """The addresses that the server refused while it took others. Raises `CommandError` when nobody gets it."""
    with _explained(server), _connected(server) as connection:
        if not server.tls_from_the_start and connection.has_extn("starttls"):
            connection.starttls(context=ssl.create_default_context())
            connection.ehlo()
        elif server.user and not server.tls_from_the_start:
            raise CommandError(f"{server.host} offers no TLS, and a password is not sent in the clear: use smtps://, or another port")
        if server.user:
            connection.login(server.user, server.password or "")
        return sorted(connection.send_message(message))


@contextmanager
def _connected(server: MailServer) -> Iterator[smtplib.SMTP]:
    if server.tls_from_the_start:
        connection: smtplib.SMTP = smtplib.SMTP_SSL(server.host, server.port, timeout=SECONDS, context=ssl.create_default_context())
    else:
        connection = smtplib.SMTP(server.host, server.port, timeout=SECONDS)
    with connection:
        connection.ehlo()
        yield connection


@contextmanager
def _explained(server: MailServer) -> Iterator[None]:
    place = f"{server.host}:{server.port}"
    try:
        yield
    except smtplib.SMTPAuthenticationError as error:
        raise CommandError(f"the mail server {place} refused the login of {server.user!r} ({error.smtp_code}): check user and password in SMTP_URL") from error
    except smtplib.SMTPRecipientsRefused as error:
        said = "; ".join(f"{address}: {code} {words.decode(errors='replace')}" for address, (code, words) in error.recipients.items())
        raise CommandError(f"the mail server {place} takes no mail for {said}: check SAVO_DIGEST_TO") from error
    except smtplib.SMTPSenderRefused as error:
        raise CommandError(f"the mail server {place} takes no mail from {error.sender}: set SAVO_DIGEST_FROM to an address that it knows") from error
    except ssl.SSLCertVerificationError as error:
        why = error.verify_message
        raise CommandError(f"the certificate of {place} is not trusted ({why}): SSL_CERT_FILE names the file of an authority of your own") from error
    except (OSError, smtplib.SMTPException) as error:
        raise CommandError(
            f"the mail server {place} does not take the mail ({str(error) or type(error).__name__}): check host, port and smtp/smtps in SMTP_URL"
        ) from error
