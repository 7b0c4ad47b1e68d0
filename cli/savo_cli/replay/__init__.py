"""`savo replay`: copies of records, and recorded scans compared with the answers of another model."""
