"""Worker processes: plain child interpreters, one socket pair each. POSIX only.

A worker is never forked from a process with threads and does not import the main module.
It shares nothing with its siblings: no lock, no queue. The end of its socket means that it
is dead, so killing one at any moment costs the attempt that it runs, and no other.
"""
