"""The report, `make report`: one page that shows what a run has proven."""
