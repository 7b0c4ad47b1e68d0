"""Training program, a process of its own: the only code that imports torch and ultralytics (AGPL-3.0).

    python -m savo_trainer.yolo train export validate --job job.json

It reads one JSON file, runs the named steps in order, and writes events to stdout, one JSON object a line. Output of
the libraries goes to stderr. The program ends when its standard input closes, so it never outlives the trainer. The
service does not import it.
"""
