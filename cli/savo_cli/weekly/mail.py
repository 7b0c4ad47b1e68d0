"""Mail client for the weekly digest: SMTP with TLS, and error messages with the next step."""

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

__all__ = ["MailServer", "compose", "send_mail"]

TIMEOUT_SECONDS = 30.0
URL_FORM = "smtp://[USER:PASSWORD@]HOST[:PORT] or smtps://…"


@dataclass(frozen=True)
class MailServer:
    """Address and login of a mail server."""

    host: str
    port: int
    tls_from_the_start: bool
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, url: str) -> MailServer:
        """From SMTP_URL. Raises `CommandError`, whose message leaves out the URL because it may hold a password."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise CommandError(f"SMTP_URL makes no sense: allowed is {URL_FORM}") from error
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise CommandError(f"SMTP_URL makes no sense: allowed is {URL_FORM}")
        is_tls = parts.scheme == "smtps"
        user, password = (unquote(part) if part else None for part in (parts.username, parts.password))
        return cls(parts.hostname, port or (465 if is_tls else 587 if user else 25), is_tls, user, password)


def compose(
    subject: str,
    text: str,
    html: str,
    *,
    sender: str,
    recipients: Sequence[str],
    week: str,
    now: datetime,
) -> EmailMessage:
    """The digest as a message with a text and an HTML part. Raises `CommandError` for an invalid address."""
    for address in (sender, *recipients):
        if "@" not in parseaddr(address)[1]:
            raise CommandError(f"{address!r} is not a mail address: correct SAVO_DIGEST_TO or SAVO_DIGEST_FROM")
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = subject, sender, ", ".join(recipients)
    message["Date"] = format_datetime(now)
    # The same for each attempt of a week, so that mail servers recognise a repeat.
    message["Message-ID"] = f"<savo-digest-{week}@{parseaddr(sender)[1].rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    message.add_alternative(html, subtype="html")
    return message


def send_mail(message: EmailMessage, server: MailServer) -> list[str]:
    """Send a message. Returns the addresses that the server refused while it accepted others.

    Raises `CommandError` when the server accepts none.
    """
    with _errors_explained(server), _connected(server) as connection:
        if not server.tls_from_the_start and connection.has_extn("starttls"):
            connection.starttls(context=ssl.create_default_context())
            connection.ehlo()
        elif server.user and not server.tls_from_the_start:
            refusal = f"{server.host} offers no TLS, and a password is not sent in the clear"
            raise CommandError(f"{refusal}; in SMTP_URL use smtps://, or a port with STARTTLS (587)")
        if server.user:
            connection.login(server.user, server.password or "")
        return sorted(connection.send_message(message))


@contextmanager
def _connected(server: MailServer) -> Iterator[smtplib.SMTP]:
    if server.tls_from_the_start:
        context = ssl.create_default_context()
        connection: smtplib.SMTP = smtplib.SMTP_SSL(server.host, server.port, timeout=TIMEOUT_SECONDS, context=context)
    else:
        connection = smtplib.SMTP(server.host, server.port, timeout=TIMEOUT_SECONDS)
    with connection:
        connection.ehlo()
        yield connection


@contextmanager
def _errors_explained(server: MailServer) -> Iterator[None]:
    try:
        yield
    except smtplib.SMTPException as error:
        raise CommandError(_smtp_problem(error, server)) from error
    except ssl.SSLCertVerificationError as error:
        problem = f"the certificate of {_place(server)} is not trusted ({error.verify_message})"
        raise CommandError(f"{problem}: set SSL_CERT_FILE to the certificate of its authority") from error
    except OSError as error:
        raise CommandError(_no_answer(error, server)) from error


def _smtp_problem(error: smtplib.SMTPException, server: MailServer) -> str:
    place = _place(server)
    match error:
        case smtplib.SMTPAuthenticationError():
            problem = f"the mail server {place} refused the login of {server.user!r} ({error.smtp_code})"
            return f"{problem}: check user and password in SMTP_URL"
        case smtplib.SMTPRecipientsRefused():
            refused = error.recipients.items()
            answers = (f"{address}: {code} {text.decode(errors='replace')}" for address, (code, text) in refused)
            return f"the mail server {place} accepts no mail for {'; '.join(answers)}: check SAVO_DIGEST_TO"
        case smtplib.SMTPSenderRefused():
            problem = f"the mail server {place} accepts no mail from {error.sender}"
            return f"{problem}: set SAVO_DIGEST_FROM to an address that it accepts"
        case _:
            return _no_answer(error, server)


def _no_answer(error: Exception, server: MailServer) -> str:
    problem = f"the mail server {_place(server)} did not accept the mail ({str(error) or type(error).__name__})"
    return f"{problem}: check host, port and smtp/smtps in SMTP_URL"


def _place(server: MailServer) -> str:
    return f"{server.host}:{server.port}"
