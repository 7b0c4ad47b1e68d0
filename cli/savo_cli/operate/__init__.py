"""Commands that change or copy a running product: rollout, models, rebuild, backup, storage; and the audit log."""
