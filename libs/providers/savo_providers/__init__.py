"""Calls of paid providers: catalogue, prices, settings, retries, deadlines and circuit breaker.

Importing this package imports no SDK. `google_sdk`, `openai_sdk` and `generativeai_sdk` import theirs, and
`adapter_loader` imports only the adapter of the chosen provider.
"""
