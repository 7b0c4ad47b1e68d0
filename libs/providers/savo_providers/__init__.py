"""What vision and reasoning share to call paid providers: one row of data each, prices, breaker, retries, deadlines, settings.

No SDK is imported with this package: `google_sdk`, `openai_sdk` and `generativeai_sdk` import theirs, and only adapters
that were chosen import those (`loading`).
"""
