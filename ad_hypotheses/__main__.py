"""`python -m ad_hypotheses`: the command line, which is also what the worker processes of a sweep run."""

import signal


def main() -> None:
    """Load the command line and run it; Ctrl-C ends the loading, which nothing can be lost by, without a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from ad_hypotheses.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
