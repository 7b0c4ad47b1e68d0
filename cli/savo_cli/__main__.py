"""Entry point of `python -m savo_cli`, the same as `savo`."""

from savo_cli.main import run

if __name__ == "__main__":
    run()
