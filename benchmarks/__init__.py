"""One runnable module for each figure that we publish; `make bench-NAME` runs one, `make bench` all.

The last line of each is one line of JSON. Figures stand beside a peer or a floor measured in the same run, because
machines are noisy.
"""
