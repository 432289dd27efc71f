"""Run `python cli.py --help`."""

from ad_hypotheses.__main__ import main

if __name__ == "__main__":
    main()
