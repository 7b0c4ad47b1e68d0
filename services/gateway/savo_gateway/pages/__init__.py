"""Files of the phone page."""
