"""Composition root of the gateway: reads the settings, and connects each port with its adapter."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Self
from uuid import uuid4

from starlette.types import ASGIApp

from savo_gateway import handlers
from savo_gateway.access.callers import AccessPolicy, Authenticator, Mode, default_mode
from savo_gateway.access.rate_limits import RateLimit
from savo_gateway.access.tokens import JwtKey, TokenVerifier
from savo_gateway.adapters.ask_counts import SqlClassCounts
from savo_gateway.adapters.audit_store import SqlAuditLog
from savo_gateway.adapters.consent_store import SqlConsents
from savo_gateway.adapters.digest_store import SqlDigests
from savo_gateway.adapters.event_positions import SqlEventPositions
from savo_gateway.adapters.exports.sample_index import SqlSampleIndex
from savo_gateway.adapters.exports.table_rows import SqlTableRows
from savo_gateway.adapters.feedback_store import SqlFeedback
from savo_gateway.adapters.figure_store import SqlFigures
from savo_gateway.adapters.jwks_client import JwksClient
from savo_gateway.adapters.key_store import SqlKeys
from savo_gateway.adapters.label_quality.correction_store import SqlCorrections
from savo_gateway.adapters.label_quality.queueing_projections import QueueingProjections
from savo_gateway.adapters.label_quality.review_store import SqlReviews
from savo_gateway.adapters.owner_app.app_scan_store import SqlAppScans
from savo_gateway.adapters.owner_app.reported_store import SqlReportedScans
from savo_gateway.adapters.projection import PROJECTION
from savo_gateway.adapters.rollout_client import HttpRolloutClient
from savo_gateway.adapters.scan_store import SqlScans
from savo_gateway.confirmations.confirmation import ConfirmScan
from savo_gateway.figures.gauges import UpdateGauges
from savo_gateway.figures.summaries import ShowProgress, ShowStats
from savo_gateway.http.admin_routes import AdminUseCases
from savo_gateway.http.application import http_app
from savo_gateway.http.dependencies import CallerAuthentication
from savo_gateway.http.export_routes import ExportUseCases
from savo_gateway.http.page_routes import PageOptions
from savo_gateway.http.review_routes import ReviewUseCases
from savo_gateway.http.scan_routes import ScanUseCases
from savo_gateway.http.training_routes import TrainingUseCases
from savo_gateway.http.upload_reader import UploadReader
from savo_gateway.http.user_routes import UserUseCases
from savo_gateway.label_quality.corrections import ShowCorrections
from savo_gateway.label_quality.reviews import DecideReview, ShowReviewQueue
from savo_gateway.owner_app.first.live_frames import LiveFrames
from savo_gateway.owner_app.first.photo_scans import ScanAppPhoto
from savo_gateway.owner_app.first.routes import FirstGenerationUseCases
from savo_gateway.owner_app.first.submissions import CollectionPolicy, StoreReportedPhoto, SubmitReport
from savo_gateway.owner_app.open_access import REQUESTS_PER_MINUTE, AddressLimits, DailyBudget, OpenAccess
from savo_gateway.owner_app.second.analysis import AnalyzeImage
from savo_gateway.owner_app.second.confirmations import ConfirmItems, GiveFeedback
from savo_gateway.owner_app.second.routes import ScanningUseCases
from savo_gateway.photos.storage import ReadPhoto, StorePhoto
from savo_gateway.photos.uploads import UploadLimits
from savo_gateway.rollout_mirror import RolloutMirror
from savo_gateway.scans.acceptance import AcceptScan, ScanPolicy
from savo_gateway.scans.completion import ExpireScans, FinishScans
from savo_gateway.scans.confirmation_asks import AskPolicy, AskRule, ConfirmationAsks
from savo_gateway.scans.long_polling import PollFinishedScans, Waiters, WaitForScan
from savo_gateway.scans.records import AskLimits
from savo_gateway.settings import GatewaySettings
from savo_runtime.messaging.consuming.subscriptions import Subscription
from savo_runtime.service import Runtime, Service, ServiceDefinition, Worker

__all__ = ["DEFINITION", "build"]

SWEEP_SECONDS = 5.0
POLL_SECONDS = 0.25
GAUGE_SECONDS = 15.0


def build(settings: GatewaySettings, runtime: Runtime) -> Service:
    """The gateway, ready to be run."""
    components = Components.of(settings, runtime)
    sweep = ExpireScans(components.scans, components.finish, runtime.clock)
    return Service(
        name="gateway",
        subscriptions=_subscriptions(components),
        snapshots=handlers.snapshots(components.mirror),
        app=_http(settings, runtime, components),
        workers=[
            Worker("sweep-scans", sweep.sweep, every=SWEEP_SECONDS),
            Worker(
                "poll-finished-scans", PollFinishedScans(components.scans, components.waiters).poll, every=POLL_SECONDS
            ),
            Worker("gauges", UpdateGauges(components.progress), every=GAUGE_SECONDS),
        ],
        exports_group_lag=True,
        # The embedded broker loses unread records when it stops.
        on_start=[sweep.republish] if settings.embedded_broker else [],
        on_stop=[client.close for client in (components.rollout, components.published_keys) if client],
        on_published=components.positions.published,
    )


@dataclass(frozen=True, kw_only=True)
class Components:
    """Stores and use cases that handlers, routes and workers share."""

    scans: SqlScans
    app_scans: SqlAppScans
    figures: SqlFigures
    reviews: SqlReviews
    positions: SqlEventPositions
    audit_log: SqlAuditLog
    waiters: Waiters
    finish: FinishScans
    confirm: ConfirmScan
    read_upload: UploadReader
    store_photo: StorePhoto
    accept: AcceptScan
    progress: ShowProgress
    mirror: RolloutMirror
    rollout: HttpRolloutClient
    published_keys: JwksClient | None

    @classmethod
    def of(cls, settings: GatewaySettings, runtime: Runtime) -> Self:
        scans, figures, waiters = SqlScans(runtime.database, runtime.outbox), SqlFigures(runtime.database), Waiters()
        limits = UploadLimits(_millions(settings.max_upload_mb), _millions(settings.max_upload_megapixels))
        store_photo = StorePhoto(runtime.store, limits, figures)
        policy = ScanPolicy(expires_after=timedelta(seconds=settings.scan_expires_seconds))
        return cls(
            scans=scans,
            app_scans=SqlAppScans(runtime.database),
            figures=figures,
            reviews=SqlReviews(runtime.database, runtime.outbox),
            positions=SqlEventPositions(runtime.database),
            audit_log=SqlAuditLog(runtime.database),
            waiters=waiters,
            finish=FinishScans(scans, waiters, runtime.clock, _asks(settings, runtime)),
            confirm=ConfirmScan(scans, runtime.clock),
            read_upload=UploadReader(limits, figures),
            store_photo=store_photo,
            accept=AcceptScan(store_photo, scans, policy, runtime.clock, new_id),
            progress=ShowProgress(figures, runtime.clock, settings.goals_started_at),
            mirror=RolloutMirror(),
            rollout=HttpRolloutClient(settings.rollout_url),
            published_keys=JwksClient(settings.jwks_url, time.monotonic) if settings.jwks_url else None,
        )


def _subscriptions(components: Components) -> list[Subscription]:
    """All subscriptions; those of scans' events also record each position."""
    projections = QueueingProjections(components.figures, components.reviews)
    table = handlers.subscriptions(components.finish, projections, components.audit_log, components.reviews)
    return [components.positions.wrap(entry) if entry.topic.trace_label else entry for entry in table]


def _http(settings: GatewaySettings, runtime: Runtime, components: Components) -> ASGIApp:
    scans = _scan_routes(runtime, components)
    return http_app(
        callers=CallerAuthentication(
            Authenticator(_access(settings, components.published_keys), SqlKeys(runtime.database)),
            RateLimit(settings.rate_limit_per_minute, time.monotonic),
        ),
        scans=scans,
        training=_training_routes(settings, runtime, components),
        exports=ExportUseCases(
            store=runtime.store,
            samples=SqlSampleIndex(runtime.database),
            tables=SqlTableRows(runtime.database),
            clock=runtime.clock,
        ),
        admin=AdminUseCases(
            rollout=components.rollout,
            rollout_mirror=components.mirror,
            audit_log=components.audit_log,
            digests=SqlDigests(runtime.database),
            scans=components.scans,
            clock=runtime.clock,
        ),
        review=_review_routes(runtime, components),
        users=UserUseCases(consents=SqlConsents(runtime.database, runtime.outbox), clock=runtime.clock),
        scanning=_scanning_routes(runtime, components, scans),
        first_generation=_first_generation(settings, runtime, components),
        open_access=_open_access(settings, runtime),
        trusted_proxies=settings.trusted_proxies,
        page=PageOptions(collects=settings.collect_training_data, asks_consent=settings.require_consent),
    )


def _scan_routes(runtime: Runtime, components: Components) -> ScanUseCases:
    return ScanUseCases(
        read_upload=components.read_upload,
        accept=components.accept,
        wait=WaitForScan(components.scans, components.waiters),
        confirm=components.confirm,
        read_photo=ReadPhoto(runtime.store),
        scans=components.scans,
        positions=components.positions,
        clock=runtime.clock,
    )


def _training_routes(settings: GatewaySettings, runtime: Runtime, components: Components) -> TrainingUseCases:
    reported = SqlReportedScans(runtime.database)
    policy = CollectionPolicy(
        SqlConsents(runtime.database, runtime.outbox), settings.collect_training_data, settings.require_consent
    )
    return TrainingUseCases(
        read_upload=components.read_upload,
        store_reported_photo=StoreReportedPhoto(components.store_photo, reported, policy, runtime.clock, new_id),
        submit=SubmitReport(
            components.scans, components.app_scans, reported, components.confirm, policy, runtime.clock, new_id
        ),
        stats=ShowStats(components.figures, runtime.clock),
        progress=components.progress,
        corrections=ShowCorrections(SqlCorrections(runtime.database), runtime.clock),
    )


def _review_routes(runtime: Runtime, components: Components) -> ReviewUseCases:
    return ReviewUseCases(
        show=ShowReviewQueue(components.reviews, components.scans),
        decide=DecideReview(components.reviews, runtime.clock),
        reviews=components.reviews,
        scans=components.scans,
        read_photo=ReadPhoto(runtime.store),
    )


def _scanning_routes(runtime: Runtime, components: Components, scans: ScanUseCases) -> ScanningUseCases:
    feedback = SqlFeedback(runtime.database)
    confirm = ConfirmItems(components.confirm, feedback)
    return ScanningUseCases(
        read_upload=components.read_upload,
        analyze=AnalyzeImage(scans.accept, scans.wait, components.scans, runtime.clock),
        confirm=confirm,
        give_feedback=GiveFeedback(confirm, feedback, runtime.clock),
        scans=components.scans,
    )


def _first_generation(settings: GatewaySettings, runtime: Runtime, components: Components) -> FirstGenerationUseCases:
    return FirstGenerationUseCases(
        read_upload=components.read_upload,
        scan=ScanAppPhoto(
            store_photo=components.store_photo,
            accept=components.accept,
            wait=WaitForScan(components.scans, components.waiters),
            frames=LiveFrames(time.monotonic),
            app_scans=components.app_scans,
            budget=DailyBudget(components.app_scans, settings.app_daily_budget_usd, runtime.clock),
            clock=runtime.clock,
            new_id=new_id,
        ),
    )


def _open_access(settings: GatewaySettings, runtime: Runtime) -> OpenAccess:
    limits = AddressLimits(RateLimit(REQUESTS_PER_MINUTE, time.monotonic), runtime.clock)
    open_access = OpenAccess(allowed=settings.app_anonymous, limits=limits, mode=_mode(settings))
    open_access.log_at_start()
    return open_access


def _asks(settings: GatewaySettings, runtime: Runtime) -> ConfirmationAsks:
    limits = AskLimits(settings.ask_per_minute, settings.ask_per_day)
    policy = AskPolicy(AskRule(settings.ask_rule), settings.ask_share, limits)
    return ConfirmationAsks(policy, SqlClassCounts(runtime.database), runtime.clock)


def _mode(settings: GatewaySettings) -> Mode:
    return Mode(settings.auth) if settings.auth else default_mode(settings.http_host)


def _access(settings: GatewaySettings, published_keys: JwksClient | None) -> AccessPolicy:
    mode = _mode(settings)
    if mode is not Mode.JWT:
        return AccessPolicy(mode)
    verify = TokenVerifier(
        key=_jwt_key(settings),
        published_keys=published_keys,
        audience=settings.token_audience,
        issuer=settings.jwt_issuer,
    )
    return AccessPolicy(mode, verify)


def _jwt_key(settings: GatewaySettings) -> JwtKey | None:
    if settings.jwt_key:
        return JwtKey(settings.jwt_key.get_secret_value(), settings.jwt_algorithm)
    return JwtKey(settings.supabase_jwt_secret.get_secret_value()) if settings.supabase_jwt_secret else None


def _millions(value: float) -> int:
    return int(value * 1_000_000)


def new_id() -> str:
    """A random id that cannot be guessed."""
    return uuid4().hex


DEFINITION = ServiceDefinition(
    "gateway",
    GatewaySettings,
    build,
    migrations="savo_gateway.migrations",
    projection=PROJECTION,
)
