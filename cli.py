"""Run `python cli.py --help`."""

from ad_hypotheses.cli.app import main

if __name__ == "__main__":
    main()
