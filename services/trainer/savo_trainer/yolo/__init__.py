"""The only code of the product that imports torch and ultralytics (AGPL-3.0): a program of its own, never imported by the service.

    python -m savo_trainer.yolo train export validate --job job.json

It reads one JSON file, does the named steps in order, and writes one JSON object a line to stdout; everything that the
libraries print goes to stderr. It ends when its standard input closes, so that it never outlives the trainer.
"""
