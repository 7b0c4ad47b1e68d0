"""Confirmations and corrections of scans by their users."""
