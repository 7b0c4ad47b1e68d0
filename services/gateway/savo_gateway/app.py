"""The gateway, wired: the only place that knows which adapter is behind which port, and the only reader of the settings."""

from __future__ import annotations

import time
from datetime import timedelta
from uuid import uuid4

from savo_gateway import handlers
from savo_gateway.access.callers import AccessPolicy, CheckCaller, JwtPolicy, Mode, default_mode
from savo_gateway.access.rate_limits import RateLimit
from savo_gateway.adapters.audit_store import SqlAuditLog
from savo_gateway.adapters.digest_store import SqlDigests
from savo_gateway.adapters.figure_store import SqlFigures
from savo_gateway.adapters.journal import SqlJournal
from savo_gateway.adapters.key_store import SqlKeys
from savo_gateway.adapters.projection import PROJECTION
from savo_gateway.adapters.reported_store import SqlReportedScans
from savo_gateway.adapters.rollout_client import HttpRolloutDesk
from savo_gateway.adapters.scan_store import SqlScans
from savo_gateway.confirmations.submissions import KeepPhoto, SubmitReport
from savo_gateway.figures.gauges import ShowGauges
from savo_gateway.figures.summaries import ShowProgress, ShowStats
from savo_gateway.http.application import http_app
from savo_gateway.http.dependencies import Gateway
from savo_gateway.photos.uploads import UploadLimits
from savo_gateway.rollout_mirror import RolloutMirror
from savo_gateway.scans.acceptance import AcceptScan, ReadPhoto, ScanPolicy, TakePhoto
from savo_gateway.scans.completion import ConfirmScan, FinishScans, SweepScans
from savo_gateway.scans.long_polling import LookForAnswers, WaitForScan, Wakes
from savo_gateway.settings import GatewaySettings
from savo_runtime.messaging.consuming.subscriptions import Subscription, bind, read_snapshot
from savo_runtime.service import Runtime, Service, ServiceDefinition, Worker

__all__ = ["DEFINITION", "build"]

SWEEP_SECONDS = 5.0
LOOK_SECONDS = 0.25
GAUGE_SECONDS = 15.0


def build(settings: GatewaySettings, runtime: Runtime) -> Service:
    scans = SqlScans(runtime.database, runtime.outbox)
    figures = SqlFigures(runtime.database)
    wakes, mirror = Wakes(), RolloutMirror()
    finish = FinishScans(scans, wakes, runtime.clock)
    sweep = SweepScans(scans, finish, runtime.clock)
    desk = HttpRolloutDesk(settings.rollout_url)
    journal = SqlJournal(runtime.database)
    gateway = _gateway(settings, runtime, scans, figures, wakes, desk, mirror)
    return Service(
        name="gateway",
        subscriptions=_subscriptions(finish, figures, journal, SqlAuditLog(runtime.database)),
        snapshots=[read_snapshot(handlers.on_rollout_changed, mirror=mirror)],
        app=http_app(gateway),
        workers=[
            Worker("sweep-scans", sweep.sweep, every=SWEEP_SECONDS),
            Worker("look-for-answers", LookForAnswers(scans, wakes).look, every=LOOK_SECONDS),
            Worker("gauges", ShowGauges(gateway.progress), every=GAUGE_SECONDS),
        ],
        watches_groups=True,
        # The embedded broker forgets what was in flight when it stops.
        on_start=[sweep.republish] if settings.embedded_broker else [],
        on_stop=[desk.close],
        on_published=journal.published,
    )


def _gateway(
    settings: GatewaySettings, runtime: Runtime, scans: SqlScans, figures: SqlFigures, wakes: Wakes, desk: HttpRolloutDesk, mirror: RolloutMirror
) -> Gateway:
    limits = UploadLimits(int(settings.max_upload_mb * 1_000_000), int(settings.max_upload_megapixels * 1_000_000))
    take_photo = TakePhoto(runtime.store, limits)
    reported = SqlReportedScans(runtime.database)
    confirm = ConfirmScan(scans, runtime.clock)
    policy = ScanPolicy(expires_after=timedelta(seconds=settings.scan_expires_seconds))
    return Gateway(
        check_caller=CheckCaller(_access(settings), SqlKeys(runtime.database)),
        rate_limit=RateLimit(settings.rate_limit_per_minute, time.monotonic),
        limits=limits,
        scans=scans,
        accept=AcceptScan(take_photo, scans, policy, runtime.clock, new_id),
        wait=WaitForScan(scans, wakes),
        confirm=confirm,
        read_photo=ReadPhoto(runtime.store),
        keep_photo=KeepPhoto(take_photo, reported, runtime.clock, new_id),
        submit=SubmitReport(scans, reported, confirm, runtime.clock),
        figures=figures,
        stats=ShowStats(figures, runtime.clock),
        progress=ShowProgress(figures, runtime.clock, settings.goals_started_at),
        rollout=desk,
        audit_log=SqlAuditLog(runtime.database),
        digests=SqlDigests(runtime.database),
        clock=runtime.clock,
        rollout_mirror=mirror,
        journal=SqlJournal(runtime.database),
        collects=settings.collect_training_data,
        asks_consent=settings.require_consent,
    )


def _subscriptions(finish: FinishScans, projections: SqlFigures, journal: SqlJournal, audit_log: SqlAuditLog) -> list[Subscription]:
    of_scans = (handlers.on_scan_completed, handlers.on_scan_failed)
    of_figures = (
        handlers.on_sample_stored,
        handlers.on_sample_rejected,
        handlers.on_sample_erased,
        handlers.on_training_finished,
        handlers.on_model_registered,
        handlers.on_recipes_suggested,
    )
    of_all = [*(bind(handler, finish=finish) for handler in of_scans), *(bind(handler, projections=projections) for handler in of_figures)]
    of_all = [journal.noting(one) if "scan_id" in one.topic.event.model_fields else one for one in of_all]
    return [*of_all, bind(handlers.on_audit_recorded, audit_log=audit_log)]


def _access(settings: GatewaySettings) -> AccessPolicy:
    mode = Mode(settings.auth) if settings.auth else default_mode(settings.http_host)
    if mode is not Mode.JWT or settings.jwt_key is None:
        return AccessPolicy(mode)
    key = settings.jwt_key.get_secret_value()
    return AccessPolicy(mode, JwtPolicy(key, (settings.jwt_algorithm,), settings.jwt_audience, settings.jwt_issuer))


def new_id() -> str:
    """A random id that nobody guesses."""
    return uuid4().hex


DEFINITION = ServiceDefinition("gateway", GatewaySettings, build, migrations="savo_gateway.migrations", projection=PROJECTION)
