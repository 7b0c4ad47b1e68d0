"""Telemetry: logs, metrics, traces, health routes, the audit log and redaction of secrets."""
