"""An article's comparison of Python and JavaScript: each section as a pair, checked and timed."""
