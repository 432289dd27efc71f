"""`python -m ad_hypotheses`: the command line, which is also what the worker processes of a sweep run."""

from ad_hypotheses.cli.app import main

if __name__ == "__main__":
    main()
