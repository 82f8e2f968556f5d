"""What an instance for tests has beyond any other: a clock that can be moved, faults, and a seed.

Nothing of it is made by a server that `kagitori-server` starts without `dev`.
"""
